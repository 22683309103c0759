// ModelMemory: one rank's memory and its ways to others in a world. It is the Memory of FiberWarp for the simulator:
// what warps start becomes flights, which land as channel/contract.md allows (sim/model/flight.h).
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

// What all memories of a world share.
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
    uint32_t first_region;      // region of the group's rank 0; rank r has first_region + r
    std::vector<char*> mapped;  // [ranks] that rank's network region, if a warp here may store there
    RailMode rails = RailMode::kNetwork;
    Word counts_from = 0;                     // the count at which all words of rings begin
    bool always_switch = false;               // another warp may have its turn before every verb: for exhaustive walks
    std::function<void()> on_rows = nullptr;  // called when rows have moved
    std::function<void(bool met)> on_woke = nullptr;  // called when the running warp's wait has ended
  };
  ModelMemory(const ModelShared& shared, AgentRank me) : s_(shared), me_(std::move(me)) {}
  ModelMemory(const ModelMemory&) = delete;
  ModelMemory& operator=(const ModelMemory&) = delete;

  // The Memory of FiberWarp, as executor/fiber/warp.h lists it.
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
  // The lanes of an `each` go backwards half of the time; in walks they go in order.
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
  void wake(int, const Batch&) {}  // does nothing, because landed words wake parked warps here
  bool park(int w, Park& park);
  void missed(int) { s_.parker->yield(); }
  void breathe(int) {}
  void broken(int w, const BrokenRecord& record);
  void enters(int w, Role role, int32_t channel);

  // Only canaries of tests/canaries call these: a look without acquire, a count without release, and a count that is
  // read when it lands.
  Word glance(int w, const Word* word) { return look(w, word, false); }
  void store_relaxed(int w, Word* at, uint32_t reader, Word count);
  void publish_live(int w, RailWord to, const Word* from);

  // The world calls these.
  const AgentRank& me() const { return me_; }
  uint32_t region() const { return me_.first_region + me_.rank; }
  uint32_t agent(int w) { return size_t(w) < agents_.size() ? agents_[size_t(w)] : add_agents(w); }
  void begin_run(int warps);
  void fail() { failed_ = true; }
  // The rank has died: its fibers run to their ends without any effect.
  void vanish() { failed_ = gone_ = true; }
  bool failed() const { return failed_; }
  bool gone() const { return gone_; }
  void begin_phase() { rows_ = 0; }
  uint64_t rows() const { return rows_; }  // rows moved in this phase
  const BrokenRecord* take_broken();
  CommandRail& rail() { return rail_; }  // only where rails have a proxy

  // The proxy of the rank calls these; it is an agent as each warp is.
  Word look_as_proxy(const Word* word);
  void carry(AskedBy asked, const RailCommand& command);
  void show_taken(Word count);

 private:
  uint32_t add_agents(int last);
  // put and publish call these where rails have a proxy (model_rails.cc).
  void give(int w, const RailCommand& command);
  bool wait_for_room(int w, Word ticket);
  RailCommand command_here(const Put& put) const;
  // publish calls this where warps fill queues of a NIC: the word grows by what is new.
  void add(int w, const RailWord& to, Word count);
  Flights::Count count_to(Word* at, uint32_t reader, Word count, bool release) const;
  Word look(int w, const Word* word, bool acquires);
  // Other warps may have a turn. False: this rank is gone.
  bool step(int w);
  void record(Happened what, int w, uint64_t b, uint64_t c);

  const ModelShared s_;
  const AgentRank me_;
  std::vector<uint32_t> agents_;
  bool failed_ = false, gone_ = false;
  bool has_broken_ = false, told_broken_ = false;
  BrokenRecord broken_{};
  uint64_t rows_ = 0;
  std::vector<bool> began_failed_;  // [warps] the last verb of moves began after the fault

  CommandRail rail_;
  // The role and channel of each warp now, and how many commands the proxy had taken when the warp last looked.
  struct WarpOfRail {
    Role role = Role::kOpener;
    int32_t channel = -1;
    Word taken = 0;
  };
  std::vector<WarpOfRail> warps_;
  std::map<std::pair<uint32_t, uint64_t>, Word> told_;  // the count that the word at this rank and offset was told last
};

using ModelWarp = FiberWarp<ModelMemory>;
static_assert(Warp<ModelWarp>);

}  // namespace transload
