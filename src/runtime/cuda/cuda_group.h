// A group on GPUs: one rank's device memory, pinned words and control channel around the kernels of its calls.
#pragma once
#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time_units.h"
#include "runtime/call/call_log.h"
#include "runtime/call/whole_call.h"
#include "runtime/cuda/cuda_memory.h"
#include "runtime/cuda/cuda_watch.h"
#include "runtime/cuda/device_handle_block.h"
#include "runtime/cuda/host_words.h"
#include "runtime/cuda/launch_facts.h"
#include "runtime/cuda/network_memory.h"
#include "runtime/cuda/pinned_page.h"
#include "runtime/device_share.h"
#include "runtime/group_impl.h"
#include "runtime/network/proxy.h"

namespace transload {

constexpr uint64_t kPatienceNs = 1000 * kMillisecondNs;  // how long the host waits beyond the deadline of kernels

// The device is current in whatever the caller's thread runs here, and no longer when it returns.
class CudaGroup final : public Group::Impl {
  RankState state_;  // the state and the call come first, because the rest refers to them
  CurrentCall call_;

 public:
  explicit CudaGroup(const GroupOptions& given);
  ~CudaGroup() override;

  RankState& state() override { return state_; }
  DispatchOutputs dispatch(const DispatchInputs& inputs) override;  // cuda_dispatch.cc
  CombineOutputs combine(const CombineInputs& inputs) override;     // cuda_combine.cc
  void refuse_if_faulted() override;
  void say_goodbye() noexcept override;
  MemoryReport memory() const override;
  std::string scale_up_name() const override;
  std::string scale_out_name() const override;
  Word net_word(const Word* at) const override;

  // These are in cuda_report.cc.
  void wait(const Stream& stream) override;
  DispatchReport report(const Handle& handle, const Stream& stream) override;

  // Steps of a call.
  CUstream_st* stream_of(const Stream& stream) const;
  // The spans of a handle for `channels` channels. If they are not the handle's, a kernel on the call's stream makes
  // them.
  DeviceSpans spans_for(const HandleData& handle, uint32_t channels, const Stream& stream);
  void launched(int error, const char* kernel);
  // A call that waits on the host asks this first: it must not wait for a rank that its own thread has still to call.
  void refuse_to_wait() const;
  // Runs a call. If it throws between its first kernel and its last, others would wait in vain, so it gives up.
  template <class Run>
  auto whole_call(const char* what, Run run) {
    const CallGuard caller(*this);
    owes_kernels_ = false;
    return transload::whole_call(*this, what, run);
  }
  bool counted_on() const { return owes_kernels_ && !state_.fault; }
  bool begun() const { return owes_kernels_; }
  [[noreturn]] void give_up(const char* what, const std::string& reason);
  // Begins a call on this stream, after the group's last call. `own_deadline_ms`: 0 for the group's. Throws before
  // anything is launched.
  void join_stream(const Stream& stream, uint32_t own_deadline_ms, const char* what);
  // Records done_ on the stream, after the launches so far. Does nothing while the stream is captured.
  void mark_end(const Stream& stream);
  // From here on no other rank waits for a kernel that this call has still to launch.
  void end_call(const Stream& stream) {
    mark_end(stream);
    owes_kernels_ = false;
  }
  bool capturing(const Stream& stream) const;
  void set_phase(Phase phase) { call_.phase.store(uint32_t(phase), std::memory_order_relaxed); }
  // Waits until the plan of this dispatch has said how many rows come. Throws the fault if it will not.
  void await_report(Word dispatch_number);
  // Keeps what a call uses as long as the graph that it is captured into, if it is.
  void keep_if_captured(const Stream& stream, Handle handle, std::shared_ptr<Lease::Block> outputs);
  Tensor on_device(const void* data, int64_t count, DLDataType dtype) const;
  // What a dispatch with this handle reports; `counts`: those that follow the report in memory.
  DispatchReport report_of(const HandleData& handle, const DeviceReport& report, const int64_t* counts) const;
  const PinnedPage& page() const { return page_; }
  const LaunchFacts& facts() const { return facts_; }
  // A number that no other dispatch of the group has.
  Word number_dispatch() { return ++dispatches_; }

  const GroupOptions& options;  // options of `state_`
  const RankMap& map;           // map of `state_`

 private:
  class Making;  // cuda_make.cc
  // Waits until the stream is done. Throws the fault that ended a call.
  void await_stream(const Stream& stream);
  // `advice` is added to the fault if it names a rank of this process that was not called. Waits for kernels that are
  // on their way for the deadline and a second at most.
  [[noreturn]] void fail(const char* what, const char* advice = "");
  bool rails_mapped() const { return state_.geometry.mapped_rails; }
  void leave_memory(bool ended);
  bool faulted() const;
  bool drain(uint64_t until);
  // Fetches from the device, and waits for no kernel.
  std::vector<Word> fetch(const Word* from, uint64_t count) const;
  bool linger(uint64_t until);
  bool handed_over(Word commands) const;
  void leave_network(uint64_t until);
  bool last_has_ended() const;
  void check_context() const;
  uint64_t stream_number(const Stream& stream) const;
  void check_stream(const Stream& stream) const;

  // From join_stream() to the end of this guard, heartbeats say that a thread is in a call.
  struct CallGuard {
    explicit CallGuard(CudaGroup& group) : call(group.call_) {}
    ~CallGuard() { call.on_stream.store(false, std::memory_order_release); }
    CallGuard(const CallGuard&) = delete;
    CurrentCall& call;
  };

  const int device_;
  std::shared_ptr<DeviceRegion> region_;
  std::unique_ptr<Neighbours> neighbours_;
  NetworkMemory network_memory_;     // network region of rails that are not mapped
  std::unique_ptr<HeapBlock> heap_;  // block of rails that NVSHMEM maps, or that are queues of its NIC
  LaunchFacts facts_{.rank = state_, .current = call_};
  Word dispatches_ = 0;  // numbers of dispatches that were given out
  const char* operation_ = "idle";
  uint64_t call_since_;
  CallLog calls_;
  DeviceReservation reservation_;  // share of the device; none once the group is faulted
  PinnedPage page_;
  std::vector<DeviceBlock> blocks_;
  std::shared_ptr<CudaMemory> memory_ = std::make_shared<CudaMemory>();  // gets the group's memory when the group goes
  ParkingPlace parking_ = ParkingPlace(1);
  Word too_many_told_ = 0;  // the part of HostWords::too_many that wait() has told of
  // Stream and event are declared after the memory that they use, so that they end first.
  OwnStream making_;  // stream for work of the group while it is made
  OwnEvent done_;     // recorded after the last call
  struct LastStream {
    void* handle;
    uint64_t number;  // CUDA's number of the stream, never used twice, while a handle may be
  };
  std::optional<LastStream> last_stream_;  // the stream of the last call
  bool captured_ = false;                  // the call that is being made goes into a graph
  bool owes_kernels_ = false;              // others wait for kernels of that call that are not launched yet
  std::unique_ptr<ScaleOut> scale_out_;    // network of rails that are not mapped; the proxy owns it once there is one
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<NicQueues> nic_;      // instead of scale_out_ and proxy_
  std::optional<CudaWatcher> watcher_;  // last: it ends before all that it reaches
};

}  // namespace transload
