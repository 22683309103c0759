// One rank of one group of a world: its memory, its calls' state, and the crew that runs its warps in virtual time.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/time_units.h"
#include "channel/command.h"
#include "control/fault.h"
#include "runtime/host/host_calls.h"
#include "sim/model/model_memory.h"
#include "sim/model/seeded.h"
#include "sim/world/caller.h"
#include "sim/world/control.h"
#include "sim/world/sim_proxy.h"

namespace transload {

// What a rank needs of its world.
struct RankSetting {
  ModelShared shared;
  Seeded* seeded;
  Timeline* timeline;
  SimControl* control;
  std::function<void(Violation)> broken;
  std::function<uint64_t(uint32_t process, uint64_t since)> stood_still;  // nanoseconds of standing still after `since`
};

class SimRank final : public Crew<ModelWarp>, public Caller {
 public:
  SimRank(const RankSetting& world, const GroupOptions& options, ModelMemory::AgentRank me);

  // `regions` has, by rank, where each rank's region begins; slabs begin `slab_offset` bytes after the rest of a
  // region.
  void place(const std::vector<char*>& regions, uint64_t region_bytes, uint64_t slab_offset);
  // What this rank shares with its proxy lies at `at`.
  void place_commands(char* at, const CommandPlace& place);
  uint64_t drained_words() const { return core.dispatch_rail.drained.size() + core.combine_rail.drained.size(); }
  // Positions of all rings, and their words, begin with this count.
  void count_from(Word first);

  // Crew.
  bool run(const std::vector<Task>& tasks) override;
  bool finish_network() override;
  void reads(const void* at, size_t bytes) override;
  void set_deadline(uint32_t ms) override { deadline_ms_ = ms; }
  void note(uint64_t epoch, Phase phase, uint64_t rows_total) override;
  [[noreturn]] void fail(const char* operation) override;
  [[noreturn]] void give_up(const char* operation, const std::string& reason) override;

  // Caller.
  uint32_t rank() const override { return core.map.me; }
  void arrive() override { core.try_paths(); }
  void compute(uint64_t ns) override;
  DispatchOutputs dispatch(const DispatchInputs& in) override;
  CombineOutputs combine(const CombineInputs& in) override;
  ExpertRoom room(size_t bytes, bool leased) override;
  void loads(const void* at, size_t bytes) override;
  void stores(void* at, size_t bytes) override;
  std::string at_rest(const void* at, size_t bytes, const char* what) const override;

  // The world calls these.
  void heard_verdict();  // all waits end
  void heard_answer();   // the arbiter answered this rank's suspicion or withdrawal
  void put_captured();   // the source of a put of this rank is free
  void look_at_waits();  // suspects what has expired; tells the control channel what this rank waits for
  uint64_t next_expiry() const;
  void vanish();  // the rank's process has died
  const WaitRecord& last_wait() const { return last_wait_; }
  uint64_t rows_total() const { return rows_total_; }
  uint64_t rows() const { return memory.rows(); }

  ModelMemory memory;
  HostCalls<ModelWarp> core;
  std::unique_ptr<SimProxy> proxy;  // null: none
  uint64_t call_since = 0;          // virtual time at which the call was entered
  uint32_t calls_begun = 0;
  std::string operation = "create";

 private:
  bool settled();
  bool network_done(bool has_deadline);
  void accuse();
  void woke(bool met);
  bool expired(const Seeded::Fiber& fiber) const { return now() - fiber.armed >= deadline_of(fiber); }
  void check_own_stop(const WaitRecord& record, uint64_t since);
  WaitRecord telling_wait() const;
  WaitRecord network_wait() const;
  uint64_t now() const { return world_.timeline->now(); }
  uint64_t deadline_of(const Seeded::Fiber& fiber) const {
    return fiber.park->needs[0].what == Waiting::kRoom ? room_patience_ns(deadline_ns()) : deadline_ns();
  }
  uint64_t deadline_ns() const { return uint64_t(deadline_ms_) * kMillisecondNs; }

  const RankSetting world_;
  WaitRecord last_wait_;
  int host_ = -1;      // the fiber that runs calls
  uint32_t left_ = 0;  // warps of this run that have not ended
  enum class HostWaits : uint8_t { kNot, kTasks, kNetwork, kVerdict, kCompute } host_waits_ = HostWaits::kNot;
  bool timed_out_ = false;
  uint32_t deadline_ms_;
  int accused_ = -1;  // the fiber whose wait was suspected
  uint64_t accused_at_ = 0;
  bool suspected_ = false;  // this run has raised a suspicion
  uint64_t rows_total_ = 0, waits_ = 0, network_since_ = 0;
};

}  // namespace transload
