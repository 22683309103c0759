// A group on the host: one rank's memory, links, fibers and control channel around the core of its calls.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "executor/fiber/host_memory.h"
#include "executor/fiber/scheduler.h"
#include "os/descriptor.h"
#include "os/free_memory.h"
#include "runtime/group_impl.h"
#include "runtime/host/crew.h"
#include "runtime/host/host_calls.h"
#include "runtime/host/last_call.h"
#include "runtime/network/hand.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload {

class Neighbours;
class SharedRegion;
struct ScaleOutKind;

class HostGroup final : public Group::Impl, private Crew<HostWarp> {
 public:
  explicit HostGroup(const GroupOptions& given);
  ~HostGroup() override;

  RankState& state() override { return core_; }
  DispatchOutputs dispatch(const DispatchInputs& inputs) override;
  CombineOutputs combine(const CombineInputs& inputs) override;
  DispatchReport report(const Handle& handle, const Stream& stream) override;
  void refuse_if_faulted() override;
  MemoryReport memory() const override;
  std::string scale_up_name() const override;
  std::string scale_out_name() const override;

 private:
  struct Calling;

  bool run(const std::vector<Task>& tasks) override;
  bool finish_network() override;
  void set_deadline(uint32_t ms) override { host_memory_->set_deadline(ms); }
  void note(uint64_t epoch, Phase phase, uint64_t rows_total) override;
  [[noreturn]] void fail(const char* operation) override;
  [[noreturn]] void give_up(const char* operation, const std::string& reason) override;

  void map_memory(bool rails_mapped);
  void connect_nodes(const ScaleOutKind& network);
  void make_executor();
  bool has_taken_all(uint32_t rank) const override;
  bool linger();
  bool settled();

  HostCalls<HostWarp> core_;
  const GroupOptions& options_;  // options of `core_`
  const RankMap& map_;           // map of `core_`
  std::shared_ptr<SharedRegion> region_;
  Promise promise_;
  std::unique_ptr<HeapBlock> heap_;  // only where a network brings memory for regions
  Descriptor bell_fd_;
  std::unique_ptr<Neighbours> neighbours_;
  std::unique_ptr<ScaleOut> scale_out_;
  std::unique_ptr<HostMemory> host_memory_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Hand> hand_;  // only where scale_out_ needs one; whoever uses scale_out_ holds it
  uint64_t call_since_ = 0;     // now_ns() at the call's entry
  bool suspected_ = false;      // this run has suspected a rank
  std::unique_ptr<LastCall> last_call_;
  OnVerdict bell_on_verdict_;  // last, because it rings in the region: it goes before all that it touches
};

}  // namespace transload
