// What every call on GPUs does: parts of its launches, and how it waits, watches and fails.
#include "runtime/cuda/cuda_group.h"

#include <cuda_runtime_api.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "base/check.h"
#include "control/fault.h"
#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "os/clock.h"
#include "runtime/call/handle.h"
#include "runtime/network/heap_place.h"

namespace transload {

void CudaGroup::refuse_if_faulted() {
  state_.refuse_if_poisoned();
  if (faulted()) fail(operation_);
  call_since_ = now_ns();
}

bool CudaGroup::faulted() const {
  return control->abort_word().load(std::memory_order_acquire) != 0 || read_word(page_.words().fault.set) != 0;
}

CUstream_st* CudaGroup::stream_of(const Stream& stream) const { return static_cast<CUstream_st*>(stream.handle); }

DeviceSpans CudaGroup::spans_for(const HandleData& handle, uint32_t channels, const Stream& stream) {
  const DeviceHandleBlock& block = *handle.device;
  if (channels == block.channels) return {block.on_device.forward, block.on_device.arriving};
  TRANSLOAD_CHECK(channels <= options.channels);  // facts_.buffers.spans has room for this many
  const DeviceSpans spans{facts_.buffers.spans, facts_.buffers.spans + uint64_t(map.sources()) * (channels + 1)};
  launched(launch_spans({.handle = view_of(block.on_device.tables),
                         .ranks = map.ranks,
                         .sources = map.sources(),
                         .channels = channels,
                         .blocks = options.sms,
                         .forward = spans.forward,
                         .arriving = spans.arriving,
                         .rows_max = handle.rows_max},
                        stream_of(stream)),
           "spans");
  return spans;
}

void CudaGroup::launched(int error, const char* kernel) {
  check_cuda(cudaError_t(error), kernel, device_);
  owes_kernels_ = !captured_;  // a captured call owes no kernels, because its graph may be thrown away
}

Tensor CudaGroup::on_device(const void* data, int64_t count, DLDataType dtype) const {
  return list(data, count, dtype, options.device);
}

void CudaGroup::refuse_to_wait() const {
  if (const uint32_t rank = calls_.owed(); rank != kNobody)
    throw Error(Code::kInvalidArgument, "rows_max: 0 in the thread that also calls rank " + std::to_string(rank) +
                                            ", must be at least 1, or rank " + std::to_string(rank) +
                                            " must be called first: the host would wait for a count from it");
}

void CudaGroup::join_stream(const Stream& stream, uint32_t own_deadline_ms, const char* what) {
  captured_ = capturing(stream);
  if (!captured_) check_stream(stream);  // nothing may be asked of a stream while it is captured
  if (captured_ && last_stream_ && last_stream_->handle != stream.handle && !last_has_ended())
    throw Error(
        Code::kInvalidArgument,
        "stream: a capture on another stream than that of the last call, which has not ended; must be the same");
  operation_ = what;
  call_.deadline_ms = own_deadline_ms != 0 ? own_deadline_ms : options.deadline_ms;
  if (captured_) return;
  const LastStream mine{stream.handle, stream_number(stream)};
  if (last_stream_ && last_stream_->number != mine.number)
    check_cuda(cudaStreamWaitEvent(stream_of(stream), done_.get(), 0), "cudaStreamWaitEvent", device_);
  last_stream_ = mine;
  calls_.called();
  if (proxy_) proxy_->wake();
  call_.on_stream.store(true, std::memory_order_release);
}

// A thread may ask this while it captures.
bool CudaGroup::last_has_ended() const {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;  // the look does not spoil the capture
  cudaThreadExchangeStreamCaptureMode(&mode);
  const bool ended = cudaEventQuery(done_.get()) == cudaSuccess;
  cudaThreadExchangeStreamCaptureMode(&mode);
  return ended;
}

uint64_t CudaGroup::stream_number(const Stream& stream) const {
  unsigned long long number = 0;
  check_cuda(cudaStreamGetId(stream_of(stream), &number), "cudaStreamGetId", device_);
  return number;
}

// A default stream is that of the device that is current: the group's.
void CudaGroup::check_stream(const Stream& stream) const {
  const CUstream_st* const handle = stream_of(stream);
  int of = device_;
  if (handle != nullptr && handle != cudaStreamLegacy && handle != cudaStreamPerThread)
    check_cuda(cudaStreamGetDevice(stream_of(stream), &of), "cudaStreamGetDevice", device_);
  if (of != device_)
    throw Error(Code::kInvalidArgument,
                "stream: of cuda " + std::to_string(of) + ", must be of cuda " + std::to_string(device_));
}

void CudaGroup::mark_end(const Stream& stream) {
  if (!captured_) check_cuda(cudaEventRecord(done_.get(), stream_of(stream)), "cudaEventRecord", device_);
}

bool CudaGroup::capturing(const Stream& stream) const {
  cudaStreamCaptureStatus state = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream_of(stream), &state), "cudaStreamIsCapturing", device_);
  return state != cudaStreamCaptureStatusNone;
}

// Waits until my own kernels have ended, also those of a replayed graph, of which only the device knows. It does not
// wait for all kernels of the device, because those of another rank may wait for this thread. False if mine have not
// ended by `until`, because other work keeps the stream.
bool CudaGroup::drain(uint64_t until) {
  const OnDevice here(device_, std::nothrow);
  while (!have_ended(page_.words(), done_)) {
    if (now_ns() > until || (!state_.fault && control->interrupted())) return false;
    sched_yield();
  }
  return true;
}

void CudaGroup::await_report(Word dispatch_number) {
  // This loop has no deadline of its own: kernels have one, and work that the caller queued before them may take any
  // time.
  for (uint32_t looks = 1; read_word(page_.words().reported) != dispatch_number; ++looks) {
    if (faulted()) fail(operation_, "; if one thread calls both ranks, this call needs rows_max");
    if (looks % 64 == 0) control->heed_interrupt();
    if (looks % 64 == 0) sched_yield();
    if (looks % 4096 == 0) check_context();
  }
}

// Throws if the device's context is lost, because its kernels tell nothing any more.
void CudaGroup::check_context() const {
  if (const cudaError_t state = cudaEventQuery(done_.get()); state != cudaErrorNotReady)
    check_cuda(state, "cudaEventQuery", device_);
}

void CudaGroup::await_stream(const Stream& stream) {
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream_of(stream));
    if (state == cudaSuccess) break;
    if (state != cudaErrorNotReady) check_cuda(state, "cudaStreamQuery", device_);
    if (faulted()) fail(operation_);  // at once, and not only after work that is not ours
    control->heed_interrupt();
    sched_yield();
  }
  if (faulted()) fail(operation_);
}

void CudaGroup::fail(const char* what, const char* advice) {
  watcher_->tell_fault();
  const Verdict verdict = control->verdict();
  tell_to_leave(page_.words());
  const Reporter reporter{map.me, what, now_ns() - call_since_, true};
  Fault fault = fault_of(verdict, reporter, wait_of(fault_now(page_.words())));
  if (calls_.behind(verdict.culprit)) fault.detail += advice;
  for (LostPeer peer; proxy_ && proxy_->lost(peer);) fault.detail += text_of(peer);
  state_.set_fault(fault);
  // Waits for the kernels to leave, so that they touch the caller's memory no longer. They may not leave in time if
  // they are queued after work that is not ours.
  drain(std::max(now_ns(), call_since_ + uint64_t(call_.deadline_ms) * kMillisecondNs) + kPatienceNs);
  throw Error(*state_.fault);
}

void CudaGroup::give_up(const char* what, const std::string& reason) {
  // Moves done_ behind all that was launched since it was last recorded, so that fail() waits for that too.
  (void)cudaEventRecord(done_.get(), static_cast<CUstream_st*>(last_stream_->handle));
  control->failed(std::string(what) + ": " + reason);
  fail(what);
}

MemoryReport CudaGroup::memory() const {
  MemoryReport report = state_.memory();
  for (const DeviceBlock& block : blocks_) report.private_bytes += block.bytes();
  report.host_bytes = page_.bytes() + network_memory_.pinned_bytes();
  return report;
}

std::string CudaGroup::scale_up_name() const {
  return map.peers > 1 ? std::string("nvlink ") + name_of(region_->way()) : "none";
}
std::string CudaGroup::scale_out_name() const {
  if (map.nodes == 1) return "none";
  if (nic_) return nic_->name() + ", by GPUs";
  if (heap_) return kNvshmemName;
  return scale_out_ ? scale_out_->name() + ", by a proxy" : "loopback";
}

std::vector<Word> CudaGroup::fetch(const Word* from, uint64_t count) const {
  std::vector<Word> words(count);
  check_cuda(cudaMemcpyAsync(words.data(), from, count * sizeof(Word), cudaMemcpyDeviceToHost, making_.get()),
             "cudaMemcpyAsync", device_);
  check_cuda(cudaStreamSynchronize(making_.get()), "cudaStreamSynchronize", device_);
  return words;
}

Word CudaGroup::net_word(const Word* at) const {
  return network_memory_.on_device() || heap_ ? fetch(at, 1)[0] : Group::Impl::net_word(at);
}

// Whether my proxy has handed the network all commands that it was given, and no source is in use.
bool CudaGroup::handed_over(Word commands) const { return !proxy_ || (proxy_->taken() >= commands && proxy_->quiet()); }

// Waits until rails have credited all that I put, and says whether they have: the network moves only by my proxy's
// hand, or my NIC's.
bool CudaGroup::linger(uint64_t until) {
  const RingWords rings = state_.ring_words();
  const Word given = fetch(facts_.buffers.queue.next, 1)[0];
  const std::vector<Word> dispatched = fetch(facts_.buffers.dispatch_rail.sent, rings.dispatch_rail.producers),
                          combined = fetch(facts_.buffers.combine_rail.sent, rings.combine_rail.producers);
  const NetworkRegion& net = state_.board.net;
  while (now_ns() < until && control->abort_word().load(std::memory_order_acquire) == 0) {
    if (control->interrupted()) return false;
    if (handed_over(given) && all_credited(net.dispatch, state_.rails, dispatched.data()) &&
        all_credited(net.combine, state_.sources, combined.data()))
      return true;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return false;
}

void CudaGroup::say_goodbye() noexcept {
  control->note(read_word(page_.words().ended), Phase::kIdle, false, kNobody);  // the goodbye gives the last call
  control->goodbye();
}

// Ends the network, unless graphs that outlive the group may still replay calls over it.
void CudaGroup::leave_network(uint64_t until) {
  if (!proxy_) return;
  if (memory_.use_count() > 1) return proxy_->orphan();
  if (!proxy_->end(std::max(until, now_ns() + kPatienceNs))) {  // the network holds the proxy, whose memory stays
    (void)proxy_.release();
    (void)scale_out_.release();
    (void)new NetworkMemory(std::move(network_memory_));
  }
  proxy_.reset();
  scale_out_.reset();
}

CudaGroup::~CudaGroup() {
  const OnDevice here(device_, std::nothrow);
  // Kernels end before anything is unmapped, and while a verdict can still end a wait.
  const uint64_t deadline_ns = state_.fault ? 0 : uint64_t(options.deadline_ms) * kMillisecondNs;
  const uint64_t until = now_ns() + deadline_ns + kPatienceNs;
  const bool ended = drain(until);
  bool all_taken = rails_mapped();  // kernels end when their stores have landed; what a NIC was told may land later
  try {
    if ((proxy_ || nic_) && ended && !state_.fault) all_taken = linger(until) && memory_.use_count() == 1;
  } catch (const std::exception&) {  // ranks that wait for this rank have a deadline
  }
  watcher_.reset();
  if (heap_ && ended && all_taken && !state_.fault && !faulted()) heap_->all_taken();
  if (heap_ && state_.fault) heap_->lose(lost_by(*state_.fault));
  leave_network(until);
  say_goodbye();
  leave_memory(ended);
  sweep_parked();
}

// The memory goes to whoever keeps graphs. Where kernels have not ended, it is parked until they have.
void CudaGroup::leave_memory(bool ended) {
  *memory_ = {.region = std::move(region_),
              .neighbours = std::move(neighbours_),
              .blocks = std::move(blocks_),
              .page = std::move(page_),
              .network = std::move(network_memory_),
              .heap = std::move(heap_),
              .scale_out = std::move(scale_out_),
              .proxy = std::move(proxy_),
              .nic = std::move(nic_)};
  if (!ended) park(parking_, {memory_, std::move(done_)});
}

}  // namespace transload
