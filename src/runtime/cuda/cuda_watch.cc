// Watching the kernels of a group and its proxy, and telling what they say.
#include "runtime/cuda/cuda_watch.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "base/time_units.h"
#include "channel/command.h"
#include "control/fault.h"
#include "gpu/driver.h"
#include "os/clock.h"
#include "os/thread.h"
#include "runtime/awaited.h"
#include "runtime/cuda/host_words.h"

namespace transload {

namespace {

constexpr uint32_t kLookMs = 5;

}  // namespace

void CudaWatcher::start() {
  thread_ = start_thread<std::jthread>([this](std::stop_token stop) { watch(stop); });
}

void CudaWatcher::watch(std::stop_token stop) noexcept {
  const OnDevice here(g_.device, std::nothrow);
  // The mode is this thread's alone: its look at an event must not spoil a capture of another one.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal;
  cudaThreadExchangeStreamCaptureMode(&mode);
  while (!stop.stop_requested()) {
    try {
      look();
    } catch (const std::exception& error) {
      g_.control.break_down(error);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
  }
}

void CudaWatcher::look() {
  if (g_.control.abort_word().load(std::memory_order_acquire) != 0) {
    tell_to_leave(g_.words);
    g_.reservation.release();  // kernels of a faulted group wait for nobody: they leave
  }
  tell_fault();
  tell_lost_context();
  const uint64_t wakes = g_.proxy != nullptr ? g_.proxy->wakes() : 0;
  const bool in_call = this->in_call();
  if (g_.proxy != nullptr && !in_call) g_.proxy->rest(wakes);
  if (g_.proxy != nullptr) watch_proxy(in_call);
  const Word running = read_word(g_.words.running);
  const Word epoch = running != 0 ? running_epoch(running) : read_word(g_.words.ended) + in_call;
  static_assert(uint32_t(Phase::kCombine) >> kPhaseBits == 0, "the last one has room in running_word");
  const Phase phase = running != 0 ? Phase(running_phase(running))
                      : in_call    ? Phase(g_.call.phase.load(std::memory_order_relaxed))
                                   : Phase::kIdle;
  const uint32_t whom = in_call ? awaited(waits_for(g_.words), g_.me) : kNobody;
  g_.control.note(epoch, phase, whom != kNobody, whom);
  if (Progress* const progress = g_.progress; progress != nullptr) {
    progress->epoch.store(epoch, std::memory_order_relaxed);
    progress->phase.store(uint32_t(phase), std::memory_order_release);
  }
}

// Kernels of a call are on the stream, or are being put there; or one, which may be a replay's, runs.
bool CudaWatcher::in_call() const {
  if (g_.call.on_stream.load(std::memory_order_acquire) || read_word(g_.words.running) != 0) return true;
  const WaitsFor said = waits_for(g_.words);
  if (said.peer != 0 || said.to_finish != 0) return true;
  return cudaEventQuery(g_.done) == cudaErrorNotReady;
}

// Tells the others, once, what a kernel found.
void CudaWatcher::tell_fault() {
  const std::lock_guard lock(telling_);
  const DeviceFault& fault = g_.words.fault;
  const auto failure = DeviceFailure(read_word(fault.set));
  if (told_ || failure == DeviceFailure::kNone) return;
  told_ = true;
  const uint64_t epoch = read_word(g_.words.ended) + 1;
  if (failure == DeviceFailure::kExpired && Waiting(fault.what) == Waiting::kRoom) {
    g_.control.failed("its proxy takes no commands");
  } else if (failure == DeviceFailure::kExpired) {
    // The kernel has left: its wait cannot begin again, even if this process was stopped meanwhile.
    g_.control.accuse({.rank = g_.me,
                       .epoch = epoch,
                       .whom = uint32_t(fault.whom),
                       .seen = fault.seen,
                       .expected = fault.expected,
                       .cut = cut_by_nic(uint32_t(fault.whom))},
                      now_ns() - fault.deadline_ns);
  } else if (failure == DeviceFailure::kBroken) {
    const BrokenRecord broken{.role = Role(fault.role),
                              .channel = int32_t(fault.channel),
                              .what = Broken(fault.what),
                              .rank = uint32_t(fault.whom),
                              .seen = fault.seen,
                              .expected = fault.expected};
    const bool same_call = broken.what != Broken::kHeader;  // a kernel has compared no cards before it accuses for one
    g_.control.mismatch(broken.rank, text_of(broken, g_.me), same_call && of_one_rank(broken));
  }
}

// Why the NIC brings `rank` nothing any more; "": it does not say so. A wait for a queue that broke ends at once.
std::string CudaWatcher::cut_by_nic(uint32_t rank) {
  for (LostPeer peer; g_.nic != nullptr && g_.nic->lost(peer);)
    if (peer.rank == rank) return peer.reason;
  return {};
}

// A context that is lost, whoever lost it: kernels tell nothing any more, and the others would wait for the deadline.
void CudaWatcher::tell_lost_context() {
  const cudaError_t state = cudaStreamQuery(g_.idle);
  if (state == cudaSuccess || state == cudaErrorNotReady || state == cudaErrorCudartUnloading || context_lost_) return;
  context_lost_ = true;
  g_.control.failed(std::string("its GPU's context is lost: ") + cudaGetErrorString(state));
}

// Before others, who wait for what it should have sent, accuse each other. By looks, not by a clock: who was stopped
// with all of its threads has not looked.
void CudaWatcher::watch_proxy(bool in_call) {
  const uint64_t turns = g_.proxy->turns();
  stuck_looks_ = in_call && turns == proxy_turns_ ? stuck_looks_ + 1 : 0;
  proxy_turns_ = turns;
  constexpr uint32_t kNapsMs = 200;  // one that naps for a graph turns every 50 ms
  const uint32_t patience_ms =
      std::max(uint32_t(room_patience_ns(g_.call.deadline_ms * kMillisecondNs) / kMillisecondNs), kNapsMs);
  if (stuck_looks_ * kLookMs <= patience_ms || proxy_told_) return;
  proxy_told_ = true;
  g_.control.failed("its proxy has stood still for " + std::to_string(stuck_looks_ * kLookMs) + " ms of a call");
}

}  // namespace transload
