// What is on its way: moves, sums, puts and counts of a world, each landing as late, as split and as reordered as
// channel/contract.md allows. This is the weakest reading of the contract, and a model of no hardware.
//
// An agent is one warp or proxy. Its moves are made by a copy engine, to which other bytes may be visible than to its
// own loads. A flight reads its source at any time before the agent drains (a put: before its drained word says so),
// and lands piece by piece at any time before a count that covers it. Such a count is of the same agent and to the
// same rank, stored with release, after the store fence if the move streams. So nobody sees a store to one rank
// through a store to another.
//
// That bytes have landed does not make them readable: their reader must have observed a count that covers them (or
// have heard of them from its own rank: by `arrive`, or because they are of an earlier run). A read without that is
// reported in every world, not only where the bytes are late.
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

// How often, in 256ths, a world's memory and network do what stands beside each. A seed draws them all, so that each
// world has another character.
struct Manners {
  uint32_t lazy = 64;          // a flight that lands only when it must, or when nothing else can happen
  uint32_t split = 64;         // a flight that lands in several pieces
  uint32_t torn = 128;         // a count whose low bytes land first
  uint32_t capture = 64;       // a flight's next step is only that its source is read
  uint32_t again = 32;         // a put lands once more
  uint32_t switches = 64;      // another warp may have its turn before a verb
  uint32_t land = 96;          // the next step is that something lands, not that a warp runs
  uint32_t publish_every = 4;  // no chance: publish and credit calls of a warp between two flushes
};

// An agent that has arrived, and up to which number its flights had settled when it arrived.
struct Arrived {
  uint32_t agent, settled;
};

// Who asked for a flight, and how far the asker's rank was then, since a proxy starts the flight later.
struct AskedBy {
  uint32_t agent = 0;
  uint32_t runs = 0;  // runs that the rank had begun
  uint32_t run = 0;   // the newest flight when the last of these runs began
};

// The rows of a sum: those of job.before, then those of job.here, then those of job.after.
struct FlightSum {
  std::vector<const char*> rows;
  simd::SumJob job{};
};

// What each flight begins with anew; the vectors of a Flight keep their memory.
struct FlightState {
  enum class Type : uint8_t { kNone, kMove, kSum, kPut, kMark, kCount };
  Type kind = Type::kNone;
  bool streamed = false;   // not ordered by a count unless fenced
  bool release = true;     // mark: covers what came before it
  bool far = false;        // the flight crosses the network
  bool again = false;      // put: may land once more until a count covers the put
  bool after_own = false;  // the source is what earlier flights of the agent bring
  // captured: its source was read; torn: only low bytes of its count have landed; shadowed: its target lies in the
  // world's space, so cells record the flight.
  bool captured = false, torn = false, shadowed = false;
  bool complete = false;  // put: its source is free; until then the network may read the source again, landed or not
  bool command = false;   // mark: a word of a command, which is no count
  bool at_home = false;   // the flight goes from a rank to its own proxy or back, over no link
  bool adds = false;      // mark: the word of the flight's reader grows by `added`, once
  uint8_t pieces = 1;
  uint32_t landed_pieces = 0;  // a bit for each piece that has landed
  uint32_t agent = 0;          // the agent that started the flight, or for which a proxy did
  uint32_t reader = 0;         // the agent that reads the source
  uint32_t toward = 0;         // the region that the flight goes to; kNobody: private memory
  uint32_t queue = 0;          // queue of the NIC; flights of two queues have no order
  uint32_t number = 0;         // the flight's number among all of the world, from 1
  uint32_t runs = 0;           // runs that the agent's rank had begun when the flight was asked for
  uint32_t run = 0;            // the newest flight when the last of these runs began
  Told covers;                 // mark: what the observer learns of the agent
  uint64_t event = 0;          // number, in the journal, of the flight's first event
  char* to = nullptr;
  const char* from = nullptr;
  size_t bytes = 0;
  Word* drained = nullptr;  // put: the word that shows when the source is free
  Word drained_count = 0;
  const Word* live = nullptr;  // mark: the count is read here when the mark lands
  Word count = 0;
  Word added = 0;
  uint32_t place = ~uint32_t(0);  // the flight's index in landable_; ~0: none
  bool at_link = false;           // the link holds the flight back
  bool waiting = false;           // the link holds the flight back, or it is lazy
};

struct Flight : FlightState {
  FlightSum sum;
  std::vector<Arrived> speaks_for;  // mark: the observer learns of these agents' flights, too
  std::vector<char> copy;           // the captured bytes
  std::vector<uint32_t> unwritten;  // cells of the source that nobody had written
};

// How the links of a world delay and hold what goes over them.
class Wire {
 public:
  virtual ~Wire() = default;
  // When a flight from region `from` may begin to land, in virtual nanoseconds; kNever: its link is dead.
  static constexpr uint64_t kNever = ~uint64_t(0);
  virtual uint64_t ready_at(uint32_t from, const Flight& flight, uint64_t now) = 0;
  virtual bool ordered() const = 0;       // true: nothing overtakes what goes over the same link of the network
  virtual bool slow(bool far) const = 0;  // true: ready_at() may be later than now
};

// The flights tell it what checkers need that do not judge flights, and what a world has to react to.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void stores(uint32_t agent, const char* to, size_t bytes) = 0;  // a store was started
  virtual void counts(uint32_t agent, const Word* word, Word count) = 0;  // a count was set, and has not landed yet
  virtual void landed_word(uint32_t region, const Word* word) = 0;
  virtual void landed_command(uint32_t) {}        // a word of a command for this region's proxy, whole
  virtual void captured_put(uint32_t agent) = 0;  // the source of a put is free
  virtual void broken(Violation violation) = 0;
  virtual void later(uint32_t flight, uint64_t when) = 0;  // the watcher must call Flights::ready() at `when`
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

  // What warps do. Each of these records its event in the journal.
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
  // What a proxy starts for a warp. The proxy itself must be allowed to read the source, and shows a drained word by a
  // store of its own. Counts cover the put as if the warp had started it.
  AskedBy asked_by(uint32_t agent) const;
  void put_by(uint32_t proxy, const AskedBy& asked, const Put& put, uint32_t region);
  void mark(const AskedBy& asked, const Count& count);
  void store_fence(uint32_t agent);
  void engine_fence(uint32_t agent);
  void drain(uint32_t agent);
  void settle(uint32_t agent);
  // The agent hears of those of its rank that arrived before: it may read what they settled, and its counts cover it.
  void arrive(uint32_t agent);
  Word observe(uint32_t agent, const Word* word, bool acquires);
  // Checks that the warp itself may load these bytes.
  void peek(uint32_t agent, const char* from, size_t bytes);
  // Reports that a verb which began after its rank had heard of the fault moves something.
  void after_fault(uint32_t agent, const void* to);
  // Reports that a role now takes a word to be less than it did before.
  void fell(uint32_t agent, const Word* word, Word from, Word to);
  // The host writes shared memory of its own (results of an expert, say).
  void host_store(char* to, size_t bytes);
  // The host reads shared memory of its own, between runs: what a call returned, say.
  void host_load(const char* from, size_t bytes);
  // True if nothing is on its way to these bytes, or has still to read them.
  bool at_rest(const char* at, size_t bytes) const;

  // What can happen without a warp: how many flights may land now.
  uint32_t landable() const { return uint32_t(landable_.size()); }
  void land(uint32_t i);  // makes one step of the i-th flight that can land
  // For walks: the source of this put is free now, whether it has landed or not.
  void free_put(uint32_t flight) { complete(flight); }
  uint32_t landable_flight(uint32_t i) const { return landable_[i]; }
  bool hurry();                                  // lets lazy flights land; false: there were none
  void ready(uint32_t flight, uint32_t number);  // the link lets the flight go, if it still has this number
  uint32_t latest() const { return numbers_; }   // the number of the last flight
  uint32_t number_of(uint32_t flight) const { return flights_[flight].number; }
  // A rank died: what its agents had on its way is dropped, or lands in part.
  void lose(uint32_t region, Chance& chance);
  // While a region is frozen nothing that comes over the network for it lands: its rank makes no progress.
  void freeze(uint32_t region, bool frozen);
  uint32_t uncaptured_puts(uint32_t region) const { return region < regions_.size() ? regions_[region].uncaptured : 0; }
  // The region to which a put of this region is on its way, its source not free yet; kNobody: none.
  uint32_t busy_with(uint32_t region) const;
  const Flight& flight(uint32_t i) const { return flights_[i]; }
  // The flights of an agent that are on their way, in program order.
  const std::vector<uint32_t>& pending(uint32_t agent) const { return agents_[agent].pending; }
  std::string text(uint32_t flight) const;  // the flight in words
  static bool landed_whole(const Flight& f) { return f.landed_pieces + 1 == uint32_t(1) << f.pieces; }

 private:
  friend class StatePrint;  // prints all members, for walks

  struct Agent {
    AgentName name;
    uint32_t fenced = 0, settled = 0;  // the agent's flights up to these numbers are fenced, or settled
    Knowledge knows;
    std::vector<Arrived> speaks_for;  // agents of the same rank that the agent's counts cover, too
    std::vector<uint32_t> pending;    // flights on their way, in program order
  };

  struct TrackedRegion {
    std::vector<uint32_t> agents;
    uint32_t uncaptured = 0;
    bool frozen = false;
    uint32_t runs = 0;
    uint32_t run = 0;  // flights up to this number are of earlier runs
    Knowledge knows;   // what agents of earlier runs were told, together
    std::vector<Arrived> arrived;
  };

  // A word that counts have landed in, and what the last of them covers.
  struct CountedWord {
    uint32_t agent, run;
    Told covers;
    std::vector<Arrived> speaks_for;
  };
  // Cell::by is an agent (with kStreamed for a store past the cache), or a region with kHost for a store of its host,
  // or a place in counted_ with kCount for a count.
  static constexpr uint32_t kStreamed = 1u << 31, kHost = 1u << 30, kCount = 1u << 29, kWho = kCount - 1;

  void gather(TrackedRegion& region);
  uint32_t take(Flight::Type kind, uint32_t agent);
  void start(uint32_t id);
  void hold_target(uint32_t id);
  void hold_source(uint32_t id, const char* from, size_t bytes);
  void free_source(uint32_t id, const char* from, size_t bytes);
  void finish_own(uint32_t id, const char* from, size_t bytes);
  bool is_fenced(const Flight& f) const { return !f.streamed || f.number <= agents_[f.agent].fenced; }
  bool sees_own(uint32_t agent, uint32_t writer) const;
  struct Reader {
    uint32_t agent;
    uint32_t region;  // the region of the bytes that are read
    bool engine;
  };
  uint32_t may_read(const Reader& reader, const Cell& cell) const;
  void landed_count(uint32_t id, Cell& cell);
  uint8_t pieces();
  void capture(uint32_t id);
  void complete(uint32_t id);
  // True for a put without a drained word, where calls do not wait for the network. Once its count lands, nothing of it
  // is placed again, even if it is sent again. So whoever observes that count has the source back.
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
  // True if the flight has landed whole, will not land again, and needs its source no more.
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
    uint32_t other = 0;  // the flight that the access collides with; 0: none
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
  std::vector<Aside> aside_;  // flights to regions that are frozen
  std::vector<CountedWord> counted_;
  uint32_t counted_used_ = 0;
  uint32_t live_ = 0;
  uint32_t at_links_ = 0;  // how many flights wait for later() of the watcher
  uint32_t numbers_ = 0;
};

}  // namespace transload
