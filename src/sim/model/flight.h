// What is on its way: moves, sums, puts and counts of a world, each landing as late, as split and as reordered as
// channel/contract.md allows. The weakest reading of the contract, not any hardware.
//
// An agent is one warp: its moves, and the copy engine that makes them, are apart from what it loads itself. A flight
// reads its source at any time before the agent drains (a put: before its drained word says so), and lands piece by
// piece at any time before a count that covers it: a count of the same agent to the same rank, stored with release,
// after the store fence if the move streams. So nobody sees a store to one rank through a store to another.
//
// That bytes have landed does not make them readable: their reader must have observed a count that covers them (or
// have heard of them from its own rank: by `arrive`, or because they are of an earlier run). Who reads without is
// reported, in every world and not only where the bytes are late.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "channel/scaleout.h"
#include "channel/word.h"
#include "executor/simd/simd.h"
#include "protocol/warp.h"
#include "sim/model/chance.h"
#include "sim/model/journal.h"
#include "sim/model/knowledge.h"
#include "sim/model/rail_mode.h"
#include "sim/model/space.h"
#include "sim/model/violation.h"

namespace transload {

// How a world's memory and network behave, in 256ths. All is drawn from the seed, so that each has another character.
struct Manners {
  uint32_t lazy = 64;      // a flight that lands only when it must, or when nothing else can happen
  uint32_t split = 64;     // a flight that lands in several pieces
  uint32_t torn = 128;     // a count whose low bytes land first
  uint32_t capture = 64;   // a source is read long before its bytes land
  uint32_t again = 32;     // a put lands once more
  uint32_t switches = 64;  // another warp has its turn before a verb
  uint32_t land = 96;      // something lands rather than that a warp runs
  uint32_t publish_every = 4;
};

// An agent that has arrived, and up to which number its flights had settled by then.
struct Arrived {
  uint32_t agent, settled;
};

// Who asked for a flight, and what was so when it did: a proxy starts it later.
struct AskedBy {
  uint32_t agent = 0;
  uint32_t runs = 0;  // of its rank, so far
  uint32_t run = 0;   // the last number before the run of its agent
};

// The rows of a sum: before, here, after.
struct FlightSum {
  std::vector<const char*> rows;
  simd::SumJob job{};
};

// What each flight starts with.
struct FlightState {
  enum class Type : uint8_t { kNone, kMove, kSum, kPut, kMark };
  Type kind = Type::kNone;
  bool streamed = false;   // not ordered by a count unless fenced
  bool release = true;     // mark: covers what came before it
  bool far = false;        // over the network
  bool again = false;      // put: may land once more until a count covers it
  bool after_own = false;  // its source is what earlier flights of its agent bring
  bool captured = false, torn = false, shadowed = false;
  bool complete = false;  // put: its source is free; until then the network may read it again, landed or not
  bool command = false;   // mark: a word of a command, which is no count
  bool at_home = false;   // between a rank and its proxy: there is no link
  bool adds = false;      // mark: its reader's word grows by `added`, once
  uint8_t pieces = 1;
  uint32_t landed_pieces = 0;  // one bit each
  uint32_t agent = 0;          // whose it is
  uint32_t reader = 0;         // the agent that reads its source
  uint32_t toward = 0;         // region that it goes to; kNobody: private memory
  uint32_t queue = 0;          // of the network; in a world of queues nothing is ordered between two of them
  uint32_t number = 0;         // of all flights of the world
  uint32_t runs = 0;           // of its agent's rank, when it was asked for
  uint32_t run = 0;            // the last number before the run of its agent
  Told covers;                 // mark: what its observer learns of its agent
  uint64_t event = 0;          // in the journal
  char* to = nullptr;
  const char* from = nullptr;
  size_t bytes = 0;
  Word* drained = nullptr;  // put
  Word drained_count = 0;
  const Word* live = nullptr;  // a count that is read when it is sent
  Word count = 0;
  Word added = 0;
  uint32_t place = ~uint32_t(0);  // in the list that may land
  bool at_link = false;
  bool waiting = false;  // held by its link, or lazy
};

struct Flight : FlightState {
  FlightSum sum;
  std::vector<Arrived> speaks_for;  // mark: its observer learns of these, too
  std::vector<char> copy;           // what was captured
  std::vector<uint32_t> unwritten;  // cells of the source that nobody had written
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

// It is told of everything that checkers need beside the flights' own rules.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void stores(uint32_t agent, const char* to, size_t bytes) = 0;  // started
  virtual void counts(uint32_t agent, const Word* word, Word count) = 0;  // set, not landed yet
  virtual void landed_word(uint32_t region, const Word* word) = 0;
  virtual void landed_command(uint32_t) {}  // a word of one for the proxy of this region, whole
  virtual void captured_put(uint32_t agent) = 0;
  virtual void broken(Violation violation) = 0;
  virtual void later(uint32_t flight, uint64_t when) = 0;  // call ready(flight) then
};

class Flights {
 public:
  Flights(Space& space, Journal& journal) : space_(space), journal_(journal) {}
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  struct Rules {
    Wire* wire = nullptr;
    Watcher* watcher = nullptr;
    const uint64_t* now = nullptr;
    Manners manners;
    bool whole = false;  // every flight lands in one piece: for exhaustive walks
    RailMode rails = RailMode::kNetwork;
  };
  void reset(const Rules& setup, Chance chance);
  bool waits_for_link() const { return at_links_ > 0; }
  // A new agent, whose own memory is `region`; `rank`, `warp` and `group` for the journal.
  struct AgentName {
    uint32_t region, rank;
    int32_t warp;
    uint8_t group;
  };
  uint32_t add_agent(const AgentName& name);
  const AgentName& name(uint32_t agent) const { return agents_[agent].name; }

  // A run of warps of this rank begins: they may read what its earlier runs and its host wrote or were told of.
  void begin_run(uint32_t region);

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
    uint32_t queue = 0;
    bool adds = false;
    Word added = 0;
    bool at_home = false;
  };
  void mark(uint32_t agent, const Count& count) { mark(asked_by(agent), count); }
  // A word of a command to the proxy of the agent's rank, stored with release unless that is left out.
  void command(uint32_t agent, Word* word, Word value, bool release);
  // What a proxy starts for somebody. It reads the source with its own eyes, and shows a drained word by a store of its
  // own; which counts cover the put is as if who asked had started it.
  AskedBy asked_by(uint32_t agent) const;
  void put_by(uint32_t proxy, const AskedBy& asked, const Put& put, uint32_t region);
  void mark(const AskedBy& asked, const Count& count);
  void store_fence(uint32_t agent);
  void engine_fence(uint32_t agent);
  void drain(uint32_t agent);
  void settle(uint32_t agent);
  // What those agents of the rank settled that arrived before may now be read, and spoken for.
  void arrive(uint32_t agent);
  Word observe(uint32_t agent, const Word* word, bool acquires);
  // A load by the warp itself: checks that it may.
  void peek(uint32_t agent, const char* from, size_t bytes);
  // A verb that moves began after its rank had heard of the fault.
  void after_fault(uint32_t agent, const void* to);
  // What a role took a word to be has become less.
  void fell(uint32_t agent, const Word* word, Word from, Word to);
  // The host writes shared memory of its own (results of an expert, say).
  void host_store(char* to, size_t bytes);
  // The host reads shared memory of its own, between runs: what a call returned, say.
  void host_load(const char* from, size_t bytes);
  // The caller has `bytes` back: nothing may be on its way there any more.
  bool at_rest(const char* at, size_t bytes) const;

  // What can happen by itself.
  uint32_t landable() const { return uint32_t(landable_.size()); }
  void land(uint32_t i);  // the i-th of them: one step of it
  // For walks: the source of this put is free now, whether it has landed or not.
  void free_put(uint32_t flight) { complete(flight); }
  uint32_t landable_flight(uint32_t i) const { return landable_[i]; }
  bool hurry();                                  // lazy ones may land now; false: there are none
  void ready(uint32_t flight, uint32_t number);  // its link lets it go
  uint32_t latest() const { return numbers_; }   // the number of the last flight
  uint32_t number_of(uint32_t flight) const { return flights_[flight].number; }
  // All that an agent's rank had on its way is dropped, or lands in part: it died.
  void lose(uint32_t region, Chance& chance);
  // What comes over the network for a rank that makes no progress does not land.
  void freeze(uint32_t region, bool frozen);
  uint32_t uncaptured_puts(uint32_t region) const { return region < regions_.size() ? regions_[region].uncaptured : 0; }
  // The region that a put of this one is stuck on its way to; kNobody: none.
  uint32_t busy_with(uint32_t region) const;
  const Flight& flight(uint32_t i) const { return flights_[i]; }
  // What is under way of an agent, in program order.
  const std::vector<uint32_t>& pending(uint32_t agent) const { return agents_[agent].pending; }
  std::string text(uint32_t flight) const;  // for people
  static bool landed_whole(const Flight& f) { return f.landed_pieces + 1 == uint32_t(1) << f.pieces; }

 private:
  friend class StatePrint;  // of all of this, for walks

  struct Agent {
    AgentName name;
    uint32_t fenced = 0, settled = 0;  // all its flights up to these numbers are
    Knowledge knows;
    std::vector<Arrived> speaks_for;  // of its rank, besides itself
    std::vector<uint32_t> pending;    // in program order
  };

  struct TrackedRegion {
    std::vector<uint32_t> agents;
    uint32_t uncaptured = 0;
    bool frozen = false;
    uint32_t runs = 0;
    uint32_t run = 0;  // flights up to this number are of earlier runs
    Knowledge knows;   // all its agents of earlier runs, together
    std::vector<Arrived> arrived;
  };

  // A word that counts have landed in, and what the last of them covers.
  struct CountedWord {
    uint32_t agent, run;
    Told covers;
    std::vector<Arrived> speaks_for;
  };
  // Cell::by: an agent, kStreamed with it; or kHost and a region; or kCount and a place in counted_.
  static constexpr uint32_t kStreamed = 1u << 31, kHost = 1u << 30, kCount = 1u << 29, kWho = kCount - 1;

  void gather(TrackedRegion& region);
  uint32_t take(Flight::Type kind, uint32_t agent);
  void start(uint32_t id);
  void claim_target(uint32_t id);
  void hold_source(uint32_t id, const char* from, size_t bytes);
  void free_source(uint32_t id, const char* from, size_t bytes);
  void finish_own(uint32_t id, const char* from, size_t bytes);
  bool is_fenced(const Flight& f) const { return !f.streamed || f.number <= agents_[f.agent].fenced; }
  bool sees_own(uint32_t agent, uint32_t writer) const;
  struct Reader {
    uint32_t agent;
    uint32_t region;  // of what it reads
    bool engine;
  };
  uint32_t may_read(const Reader& reader, const Cell& cell) const;
  void landed_count(uint32_t id, Cell& cell);
  uint8_t pieces();
  void capture(uint32_t id);
  void complete(uint32_t id);
  // A put that no drained word speaks for, where calls do not wait for the network. Once its count lands, what may
  // still be sent again of it is not placed: so who hears of that count has its source back.
  bool freed_by_count(const Flight& f) const {
    return setup_.rails != RailMode::kNetwork && f.kind == Flight::Type::kPut && f.drained == nullptr && !f.complete;
  }
  void add_up(uint32_t id);
  void leave_target(uint32_t id);
  void leave_again(uint32_t id);
  void land_piece(uint32_t id, uint32_t piece);
  void finish(uint32_t id);
  void land_mark(uint32_t id, bool whole);
  void finish_covered(uint32_t id);
  bool covered(const Flight& mark, const Flight& other) const;
  void merge_older(uint32_t id, uint32_t agent);
  void add_older(uint32_t id);
  void show_drained(uint32_t id);
  bool supersede(uint32_t id);
  uint32_t first_of_link(uint32_t id) const;
  void let_go(uint32_t id);
  void drop(uint32_t id);
  void end(uint32_t id);
  void be_lazy(uint32_t id);
  void list(uint32_t id);
  void unlist(uint32_t id);
  void wait_for_link(uint32_t id);
  struct Fact {
    const void* at;
    uint64_t a, c;
    const void* from = nullptr;
  };
  void record(Happened what, uint32_t agent, const Fact& fact);
  // Nothing more will come of it.
  static bool over(const Flight& f) {
    return landed_whole(f) && !f.again && (f.kind != Flight::Type::kPut || f.complete);
  }
  // Calls f(flight) for what this agent has on its way, in program order; f may end it, and others.
  template <class F>
  void each_pending(uint32_t agent, F f) {
    uint32_t last = 0;
    for (size_t i = 0; i < agents_[agent].pending.size();) {
      const std::vector<uint32_t>& pending = agents_[agent].pending;
      const uint32_t id = pending[i];
      const size_t before = pending.size();
      if (flights_[id].number > last) {
        last = flights_[id].number;
        f(id);
      }
      i = pending.size() == before ? i + 1 : 0;
    }
  }
  template <class F>
  static void each_row(const Flight& f, F visit) {
    const simd::SumJob& job = f.sum.job;
    const int here_begin = job.before.count, here_end = here_begin + job.here.count;
    for (int i = 0; i < int(f.sum.rows.size()); ++i)
      visit(f.sum.rows[size_t(i)], row_bytes(job, i >= here_begin && i < here_end ? job.row : job.partial));
  }
  static size_t row_bytes(const simd::SumJob& job, Scalar type) { return job.elements * scalar_bytes(type); }
  struct Breach {
    Breach(std::string text, uint32_t flight = 0) : what(std::move(text)), other(flight) {}
    Breach(const char* text) : what(text) {}
    std::string what;
    uint32_t other = 0;  // the flight that it collides with; 0: none
  };
  void break_rule(Checker checker, uint32_t agent, const void* at, Breach breach);

  Space& space_;
  Journal& journal_;
  Rules setup_;
  Chance chance_;
  std::vector<Agent> agents_;
  uint32_t agents_used_ = 0;
  std::vector<Flight> flights_;
  std::vector<uint32_t> free_, landable_, lazy_;
  std::vector<TrackedRegion> regions_;
  struct Aside {
    uint32_t flight, number;
  };
  std::vector<Aside> aside_;  // for ranks that are frozen
  std::vector<CountedWord> counted_;
  uint32_t counted_used_ = 0;
  uint32_t live_ = 0;
  uint32_t at_links_ = 0;  // their links let them go, later
  uint32_t numbers_ = 0;
};

}  // namespace transload
