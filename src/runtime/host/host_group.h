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

struct HostGroup final : Group::Impl, Crew<HostWarp> {
  explicit HostGroup(const GroupOptions& given);
  ~HostGroup() override;

  // Group::Impl.
  RankState& state() override { return core; }
  DispatchOutputs dispatch(const DispatchInputs& inputs) override;
  CombineOutputs combine(const CombineInputs& inputs) override;
  DispatchReport report(const Handle& handle, const Stream& stream) override;
  void refuse_if_faulted() override;
  MemoryReport memory() const override;
  std::string scale_up_name() const override;
  std::string scale_out_name() const override;

  // Crew.
  bool run(const std::vector<Task>& tasks) override;
  bool finish_network() override;
  void set_deadline(uint32_t ms) override { host_memory->set_deadline(ms); }
  void note(uint64_t epoch, Phase phase, uint64_t rows_total) override;
  [[noreturn]] void fail(const char* operation) override;
  [[noreturn]] void give_up(const char* operation, const std::string& reason) override;

  HostCalls<HostWarp> core;
  const GroupOptions& options;  // options of `core`
  const RankMap& map;           // map of `core`
  std::shared_ptr<SharedRegion> region;
  Promise promise;
  std::unique_ptr<HeapBlock> heap;  // only where a network brings memory for regions
  Descriptor bell_fd;
  std::unique_ptr<Neighbours> neighbours;
  std::unique_ptr<ScaleOut> scale_out;
  std::unique_ptr<HostMemory> host_memory;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Hand> hand;  // only where scale_out needs one; whoever uses scale_out holds it
  uint64_t call_since = 0;     // now_ns() at the call's entry
  bool suspected = false;      // this run has suspected a rank
  std::unique_ptr<LastCall> last_call;
  OnVerdict bell_on_verdict;  // last, because it rings in the region: it goes before all that it touches

 private:
  struct Calling;
  void map_memory(bool rails_mapped);
  void connect_nodes(const ScaleOutKind& network);
  void make_executor();
  bool has_taken_all(uint32_t rank) const override;
  bool linger();
  bool settled();
};

}  // namespace transload
