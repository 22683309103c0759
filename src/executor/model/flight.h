// What is on its way: moves, sums, puts and counts of a world, each landing as late, as split and as reordered as
// channel/contract.md allows. The weakest reading of the contract, not any hardware.
//
// An agent is one warp: its moves, and the copy engine that makes them, are apart from what it loads itself. A flight
// reads its source at any time before the agent drains (a put: before its drained word says so), and lands piece by
// piece at any time before a count that covers it: a count of the same agent to the same rank, stored with release,
// after the store fence if the move streams. So nobody sees a store to one rank through a store to another.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "channel/word.h"
#include "executor/fiber/simd.h"
#include "executor/model/chance.h"
#include "executor/model/journal.h"
#include "executor/model/space.h"
#include "executor/model/violation.h"
#include "protocol/warp.h"

namespace transload {

// How a world's memory and network behave: drawn from the seed, so that each has another character. In 256ths.
struct Manners {
  uint32_t lazy = 64;      // a flight that lands only when it must, or when nothing else can happen
  uint32_t split = 64;     // a flight that lands in several pieces
  uint32_t torn = 128;     // a count whose low bytes land first
  uint32_t capture = 64;   // a source is read long before its bytes land
  uint32_t switches = 64;  // another warp has its turn before a verb
  uint32_t land = 96;      // something lands rather than that a warp goes on
  uint32_t publish_every = 4;
};

// The rows of a sum: before, here, after.
struct FlightSum {
  std::vector<const char*> rows;
  simd::SumJob job{};
};

struct Flight {
  enum class Kind : uint8_t { kNone, kMove, kSum, kPut, kMark };
  Kind kind = Kind::kNone;
  bool streamed = false;  // not ordered by a count unless fenced
  bool fenced = false;
  bool release = true;  // mark: covers what came before it
  bool far = false;     // over the network
  bool captured = false, torn = false, shadowed = false;
  bool complete = false;  // put: its source is free; until then the network may read it again, landed or not
  uint8_t pieces = 1;
  uint32_t landed_pieces = 0;  // one bit each
  uint32_t agent = 0;
  uint32_t toward = 0;  // region that it goes to; kNobody: private memory
  uint32_t view = 0;    // what the copy engine could see when it started
  uint64_t number = 0;  // of all flights of the world
  uint64_t run = 0;     // the last number before the run of its agent
  uint64_t event = 0;   // in the journal
  char* to = nullptr;
  const char* from = nullptr;
  size_t bytes = 0;
  Word* drained = nullptr;  // put
  Word drained_count = 0;
  const Word* live = nullptr;  // a count that is read when it is sent
  Word count = 0;
  FlightSum sum;
  std::vector<char> copy;           // what was captured
  std::vector<uint32_t> unwritten;  // cells of the source that nobody had written
  uint32_t place = ~uint32_t(0);    // in the list that may land
  bool at_link = false;
  bool waiting = false;  // held by its link, or lazy
};

// How the links of a world delay and hold what goes over them.
class Wire {
 public:
  virtual ~Wire() = default;
  // When a flight between two regions may begin to land, in virtual nanoseconds; kNever: not while the link is as it
  // is.
  static constexpr uint64_t kNever = ~uint64_t(0);
  virtual uint64_t ready_at(uint32_t from, const Flight& flight, uint64_t now) = 0;
  virtual bool ordered() const = 0;
  virtual bool slow(bool far) const = 0;  // may ready_at() be later than now
};

// Told of everything that checkers need beside the flights' own rules.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void stores(uint32_t agent, const char* to, size_t bytes) = 0;  // started
  virtual void counts(uint32_t agent, const Word* word, Word count) = 0;  // set, not landed yet
  virtual void landed_word(uint32_t region, const Word* word) = 0;
  virtual void captured_put(uint32_t agent) = 0;
  virtual void broken(Violation violation) = 0;
  virtual void later(uint32_t flight, uint64_t when) = 0;  // call ready(flight) then
};

class Flights {
 public:
  Flights(Space& space, Journal& journal) : space_(space), journal_(journal) {}
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  struct Setup {
    Wire* wire = nullptr;
    Watcher* watcher = nullptr;
    const uint64_t* now = nullptr;
    Manners manners;
    bool whole = false;  // every flight lands in one piece: for exhaustive walks
  };
  void reset(const Setup& setup, Chance chance);
  bool waits_for_link() const { return at_links_ > 0; }
  // A new agent, whose own memory is `region`; `rank`, `warp` and `group` for the journal.
  struct AgentName {
    uint32_t region, rank;
    int32_t warp;
    uint8_t group;
  };
  uint32_t add_agent(const AgentName& name);
  const AgentName& name(uint32_t agent) const { return agents_[agent].name; }

  // A run of warps begins: all that has landed is visible to it.
  void begin(uint32_t agent) {
    agents_[agent].view = agents_[agent].engine_view = landings_;
    regions_[agents_[agent].name.region].run = numbers_;
  }

  // What warps do. `event`s are recorded here.
  void move(uint32_t agent, const Piece& piece, bool streamed);
  void sum(uint32_t agent, const simd::SumJob& job);
  void put(uint32_t agent, const Put& put, uint32_t region);
  struct Count {
    Word* word;
    Word count;
    uint32_t region;
    bool release, far;
    const Word* live = nullptr;
  };
  void mark(uint32_t agent, const Count& count);
  void store_fence(uint32_t agent);
  void engine_fence(uint32_t agent);
  void drain(uint32_t agent);
  void settle(uint32_t agent);
  // What others did before is visible to this agent, as far as it has landed.
  void acquire(uint32_t agent) { agents_[agent].view = landings_; }
  Word observe(uint32_t agent, const Word* word, bool acquires);
  // A load by the warp itself: checks that it may.
  void peek(uint32_t agent, const char* from, size_t bytes);
  // A verb that moves began after its rank had heard of the fault.
  void after_fault(uint32_t agent, const void* to);
  // What a role took a word to be has become less.
  void fell(uint32_t agent, const Word* word, Word from, Word to);
  // The host writes shared memory of its own (results of an expert, say).
  void host_store(char* to, size_t bytes);
  // The caller has `bytes` back: nothing may be on its way there any more.
  bool at_rest(const char* at, size_t bytes) const;

  // What can happen by itself.
  uint32_t landable() const { return uint32_t(landable_.size()); }
  void land(uint32_t i);  // the i-th of them: one step of it
  uint32_t landable_flight(uint32_t i) const { return landable_[i]; }
  bool hurry();                                  // lazy ones may land now; false: there are none
  void ready(uint32_t flight, uint64_t number);  // its link lets it go
  uint64_t number_of(uint32_t flight) const { return flights_[flight].number; }
  // All that an agent's rank had on its way is dropped, or lands in part: it died.
  void lose(uint32_t region, Chance& chance);
  // What comes over the network for a rank that makes no progress does not land.
  void freeze(uint32_t region, bool frozen);
  uint32_t uncaptured_puts(uint32_t region) const { return region < regions_.size() ? regions_[region].uncaptured : 0; }
  // The region that a put of this one is stuck on its way to; kNobody: none.
  uint32_t busy_with(uint32_t region) const;
  uint32_t in_flight() const { return live_; }
  const Flight& flight(uint32_t i) const { return flights_[i]; }
  std::string text(uint32_t flight) const;  // for people

 private:
  struct Agent {
    AgentName name;
    uint32_t view = 0, engine_view = 0;
    std::vector<uint32_t> pending;  // in program order
  };

  struct Region {
    std::vector<uint32_t> agents;
    uint32_t uncaptured = 0;
    bool frozen = false;
    uint64_t run = 0;  // flights before this number are of earlier runs
  };

  uint32_t take(Flight::Kind kind, uint32_t agent);
  void start(uint32_t id);
  void claim_target(uint32_t id);
  void hold_source(uint32_t id, const char* from, size_t bytes);
  void free_source(uint32_t id, const char* from, size_t bytes);
  bool sees_own(uint32_t agent, uint64_t number, uint32_t writer) const;
  bool check_source(uint32_t id, const char* from, size_t bytes);
  void capture(uint32_t id);
  void complete(uint32_t id);
  void add_up(Flight& flight);
  void land_piece(uint32_t id, uint32_t piece);
  void finish(uint32_t id);
  void land_mark(uint32_t id, bool whole);
  void finish_covered(uint32_t id);
  bool covered(const Flight& mark, const Flight& other) const;
  void merge_older(uint32_t id, uint32_t agent);
  bool supersede(uint32_t id);
  uint32_t first_of_link(uint32_t id) const;
  void drop(uint32_t id);
  void end(uint32_t id);
  void be_lazy(uint32_t id);
  void list(uint32_t id);
  void unlist(uint32_t id);
  void wait_for_link(uint32_t id);
  struct Said {
    uint64_t a, c;
    const void* from = nullptr;
  };
  void record(Happened what, uint32_t agent, const void* at, const Said& said);
  // `other`: the flight that it collides with; 0: none.
  void break_rule(Checker checker, uint32_t agent, const void* at, std::string what, uint32_t other = 0);

  Space& space_;
  Journal& journal_;
  Setup setup_;
  Chance chance_;
  std::vector<Agent> agents_;
  std::vector<Flight> flights_;
  std::vector<uint32_t> free_, landable_, lazy_;
  std::vector<Region> regions_;
  struct Aside {
    uint32_t flight;
    uint64_t number;
  };
  std::vector<Aside> aside_;  // for ranks that are frozen
  uint32_t landings_ = 1, live_ = 0;
  uint32_t at_links_ = 0;  // their links let them go, later
  uint64_t numbers_ = 0;
};

}  // namespace transload
