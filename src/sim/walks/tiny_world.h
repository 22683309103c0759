// A tiny world: a few ranks with real boards over model memory, so few that all their schedules can be walked. A
// derived class says what the ranks do.
//
// Between calls of act() a world stands before a choice: which warp proceeds to its next primitive, which flight lands,
// which rank hears of the fault. After reset() the same choices lead to the same states again.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/board.h"
#include "channel/card.h"
#include "channel/rail_ends.h"
#include "channel/ring.h"
#include "sim/model/seeded.h"
#include "sim/walks/state_print.h"
#include "sim/walks/walk_memory.h"

namespace transload {

struct TinyWorldPlan {
  std::vector<uint32_t> node_sizes;
  uint32_t slots = 2;
  uint64_t row_bytes = 16;    // bytes of the largest token
  uint64_t lease_bytes = 0;   // of each rank, after its scale-up region
  size_t private_words = 64;  // words of all ranks together, besides the positions
  uint32_t publish_every = 1;
  int warps = 1;        // the most warps of a rank in a call
  bool faults = false;  // the group may be faulted at any point, and each rank hears of that at some time
};

struct Action {
  enum class Deed : uint8_t { kRun, kLand, kFree, kHear } kind;  // kFree: the network needs no source of a put any more
  uint32_t which;                                                // the fiber, the flight or the rank
};

class TinyWorld : private Wire, private Watcher {
 public:
  using Task = std::function<void(WalkWarp&)>;

  explicit TinyWorld(TinyWorldPlan plan);
  virtual ~TinyWorld();
  TinyWorld(const TinyWorld&) = delete;
  TinyWorld& operator=(const TinyWorld&) = delete;

  // Goes back to where it was before the first choice.
  void reset();
  // All warps run to their ends, wherever they are. Derived classes call it before what the warps use goes away.
  void stop();
  // Lists what can happen now. An empty list: the walk has ended, well or with a violation.
  void actions(std::vector<Action>& list);
  void act(const Action& action);
  // True if the action commutes with everything that others can do before it: see docs/walks.md.
  bool is_private(const Action& action) const;
  // True if this lands bytes before they must land.
  bool is_early(const Action& action) const;
  // True if this runs another warp though the last one could run on.
  bool preempts(const Action& action) const;
  // A number from 1 for the warp that ran last; 0: it cannot run on.
  uint64_t running() const;
  // Prints all that decides what can happen from now on.
  Print print();
  const Violation& violation() const { return violation_; }
  std::string text(const Action& action) const;

 protected:
  // Returns what the fibers of a rank run in its call of this number, from 0; none: it makes no more calls.
  virtual std::vector<Task> call(uint32_t rank, uint32_t number) = 0;
  // Called when all warps of a rank's call have ended and the rank has heard of no fault.
  virtual void check(uint32_t, uint32_t) {}

  void broken(Violation violation) override;
  void say(uint32_t rank, Checker checker, std::string what) {
    broken({.checker = checker, .what = std::move(what), .word = 0, .rank = rank, .warp = -1, .event = 0});
  }
  // Takes private words of a rank, which are zero after reset().
  Word* take_private(size_t words);
  // Tells the walk where a warp stands, as WalkMemory::stands_at() does.
  void stands_at(uint32_t rank, int warp, std::initializer_list<uint64_t> state) {
    ranks_[rank]->memory->stands_at(warp, state);
  }
  Board& board(uint32_t rank) { return ranks_[rank]->board; }
  uint32_t ranks() const { return uint32_t(ranks_.size()); }
  Flights& flights() { return flights_; }
  char* lease(uint32_t rank) { return space_.region(rank) + ranks_[rank]->board.net.bytes + lease_offset(rank); }
  uint64_t lease_offset(uint32_t rank) const { return ranks_[rank]->board.up.bytes; }
  PeerLink peers(uint32_t rank);
  RailLink toward_nodes(uint32_t rank);
  RailLink from_sources(uint32_t rank);
  const TinyWorldPlan plan_;

 private:
  struct Rank {
    Board board;
    std::vector<char*> peer, mapped;
    RailEnds ends;
    Positions positions;
    std::optional<WalkMemory> memory;
    std::vector<Task> tasks;
    uint32_t call = 0;
    int left = 0;  // warps of this call that have not ended
    bool heard = false, ended = false;
  };
  struct WarpState {
    uint32_t rank = 0;
    int warp = 0;
  };

  // Agents are numbered rank by rank, in the order in which reset() makes them.
  uint32_t agent_of(uint32_t rank, int warp) const { return rank * uint32_t(plan_.warps) + uint32_t(warp); }
  void lay(Rank& rank, uint32_t number);
  void link(Rank& rank);
  void begin_call(uint32_t rank);
  void end_warp(uint32_t rank, WalkWarp& warp, int number);
  bool any_heard() const;
  uint64_t region_bytes(const Rank& rank) const {
    return rank.board.net.bytes + rank.board.up.bytes + plan_.lease_bytes;
  }
  Positions positions_of(uint32_t rank);

  // Wire.
  uint64_t ready_at(uint32_t, const Flight&, uint64_t now) override { return now; }
  bool ordered() const override { return false; }
  bool slow(bool) const override { return false; }
  // Watcher.
  void stores(uint32_t, const char*, size_t) override {}
  void counts(uint32_t, const Word* word, Word) override { is_word_[space_.offset(word) / kCellBytes] = true; }
  void landed_word(uint32_t region, const Word*) override { seeded_.word_grew(region); }
  void captured_put(uint32_t agent) override { seeded_.word_grew(flights_.name(agent).region); }
  void later(uint32_t, uint64_t) override {}

  RankTable table_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<Word> private_;
  size_t taken_ = 0;
  std::vector<WarpState> warp_of_fiber_;
  Space space_;
  Journal journal_{64};
  Flights flights_{space_, journal_};
  Seeded seeded_;
  Chance chance_;
  Manners manners_;
  uint64_t now_ = 1;
  const Word always_ = ~Word(0);
  Violation violation_;
  int last_run_ = -1;
  bool over_ = false;
  std::vector<bool> is_word_;       // [cells] true: a count was given for the cell
  std::vector<size_t> used_bytes_;  // bytes in use of each region
  StatePrint state_{flights_, space_};
};

}  // namespace transload
