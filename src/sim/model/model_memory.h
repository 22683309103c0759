// ModelMemory: one rank's memory and its ways to others in a world. The Memory of FiberWarp for the simulator: what
// warps start becomes flights, which land as channel/contract.md allows (sim/model/flight.h).
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "executor/fiber/batch.h"
#include "executor/fiber/park.h"
#include "executor/fiber/warp.h"
#include "executor/simd/simd.h"
#include "sim/model/command_rail.h"
#include "sim/model/flight.h"

namespace transload {

// What memories of a world share.
struct ModelShared {
  Space* space;
  Flights* flights;
  Journal* journal;
  Chance* chance;
  Parker* parker;
  const Manners* manners;
  const uint64_t* now;
};

class ModelMemory {
 public:
  using Plants = LivePlants;

  struct AgentRank {
    uint32_t rank;
    uint32_t ranks;
    uint8_t group;
    uint32_t process;
    uint32_t first_region;      // of the group; that of rank r is first_region + r
    std::vector<char*> mapped;  // by rank: its network region, if a warp here may store there
    RailMode rails = RailMode::kNetwork;
    Word counts_from = 0;                     // of the words of rings
    bool always_switch = false;               // another warp may have its turn before every verb: for exhaustive walks
    std::function<void()> on_rows = nullptr;  // rows have moved
    std::function<void(bool met)> on_woke = nullptr;  // the running warp's wait has ended
  };
  ModelMemory(const ModelShared& shared, AgentRank me) : s_(shared), me_(std::move(me)) {}
  ModelMemory(const ModelMemory&) = delete;
  ModelMemory& operator=(const ModelMemory&) = delete;

  // The Memory of FiberWarp: see warp.h.
  uint32_t publish_every() const { return s_.manners->publish_every; }
  bool failed(int) const { return failed_; }
  Word observe(int w, const Word* word) { return look(w, word, true); }
  void knows(int w, const Word* word, Word before, Word now);
  template <class T>
  T peek(int w, const T* at) {
    if (!gone_) s_.flights->peek(agent(w), reinterpret_cast<const char*>(at), sizeof(T));
    return *at;
  }
  char* rail_base(uint32_t rank) const { return me_.mapped[rank]; }
  void advance(int, Word* word, Word count) { *word = count; }
  Word claim(int w, Word* counter);
  Word arrive(int w, Word* counter);
  // The lanes of this `each`; in walks they go in order.
  bool backwards(int) { return !me_.always_switch && s_.chance->in_256(128); }
  void engine_fence(int w);
  void move(int w, const Piece& piece, bool staged);
  void sum(int w, const simd::SumJob& job);
  void moved(int w, uint32_t rows);
  void store_fence(int w);
  void drain(int w);
  void settle(int w);
  void put(int w, const Put& put);
  void publish(int w, RailWord to, Word count, bool credit);
  void store(int w, Word* at, uint32_t reader, Word count);
  void wake(int, const Batch&) {}  // a parked warp is woken by the word itself
  bool park(int w, Park& park);
  void missed(int) { s_.parker->yield(); }
  void breathe(int) {}
  void broken(int w, const BrokenRecord& record);
  void enters(int w, Role role, int32_t channel);

  // For the canaries in tests/canaries alone: a look without acquire, a count without release, and one that is read
  // when it is sent.
  Word glance(int w, const Word* word) { return look(w, word, false); }
  void store_relaxed(int w, Word* at, uint32_t reader, Word count);
  void publish_live(int w, RailWord to, const Word* from);

  // The world calls these.
  const AgentRank& me() const { return me_; }
  uint32_t region() const { return me_.first_region + me_.rank; }
  uint32_t agent(int w) { return size_t(w) < agents_.size() ? agents_[size_t(w)] : add_agents(w); }
  void begin_run(int warps);
  void fail() { failed_ = true; }
  // The rank is no more: what is left of its fibers does nothing on its way out.
  void vanish() { failed_ = gone_ = true; }
  bool failed() const { return failed_; }
  bool gone() const { return gone_; }
  void begin_phase() { rows_ = 0; }
  uint64_t rows() const { return rows_; }  // moved in this phase
  const BrokenRecord* take_broken();
  CommandRail& rail() { return rail_; }  // of a rank with a proxy

  // The proxy, an agent as the warps are, calls these.
  Word look_as_proxy(const Word* word);
  void carry(AskedBy asked, const RailCommand& command);
  void show_taken(Word count);

 private:
  uint32_t add_agents(int last);
  // These are below put and publish, where rails have a proxy: model_rails.cc.
  void give(int w, const RailCommand& command);
  bool wait_for_room(int w, Word ticket);
  RailCommand command_here(const Put& put) const;
  // Warps that fill queues of a NIC add what is new.
  void add(int w, const RailWord& to, Word count);
  Flights::Count count_to(Word* at, uint32_t reader, Word count, bool release) const;
  Word look(int w, const Word* word, bool acquires);
  // The others have a turn; false: this rank is gone.
  bool step(int w);
  void record(Happened what, int w, uint64_t b, uint64_t c);

  const ModelShared s_;
  const AgentRank me_;
  std::vector<uint32_t> agents_;
  bool failed_ = false, gone_ = false;
  bool has_broken_ = false, told_broken_ = false;
  BrokenRecord broken_{};
  uint64_t rows_ = 0;
  std::vector<bool> began_failed_;  // by warp: its last verb of moves began after the fault

  CommandRail rail_;
  // What each warp is now, and the latest that it knows of how many commands the proxy has taken.
  struct WarpOfRail {
    Role role = Role::kOpener;
    int32_t channel = -1;
    Word taken = 0;
  };
  std::vector<WarpOfRail> warps_;
  std::map<std::pair<uint32_t, uint64_t>, Word> told_;  // what was added to each rank's word so far
};

using ModelWarp = FiberWarp<ModelMemory>;
static_assert(Warp<ModelWarp>);

}  // namespace transload
