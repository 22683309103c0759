// Watching the kernels of a group and its proxy, and telling what they say.
#include "runtime/cuda/cuda_watch.h"

#include <chrono>
#include <new>

#include "gpu/driver.h"
#include "os/clock.h"
#include "os/thread.h"
#include "runtime/cuda/host_words.h"

namespace transload {

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
  const uint64_t wakes = g_.proxy != nullptr ? g_.proxy->wakes() : 0;  // before the look, as it may find calls over
  const KernelConclusion concluded = watch_.look(look_at());
  if (concluded.leave) {
    tell_to_leave(g_.words);
    g_.reservation.release();
  }
  tell_fault();
  for (const std::string& failure : concluded.failures) g_.control.failed(failure);
  if (concluded.rest) g_.proxy->rest(wakes);
  g_.control.note(concluded.epoch, concluded.phase, concluded.whom != kNobody, concluded.whom);
  if (Progress* const progress = g_.progress; progress != nullptr) {
    progress->epoch.store(concluded.epoch, std::memory_order_relaxed);
    progress->phase.store(uint32_t(concluded.phase), std::memory_order_release);
  }
}

KernelLook CudaWatcher::look_at() const {
  const cudaError_t idle = cudaStreamQuery(g_.idle);
  const bool lost = idle != cudaSuccess && idle != cudaErrorNotReady && idle != cudaErrorCudartUnloading;
  return {.judged = g_.control.abort_word().load(std::memory_order_acquire) != 0,
          .on_stream = g_.call.on_stream.load(std::memory_order_acquire),
          .waits_for = waits_for(g_.words),
          .behind = cudaEventQuery(g_.done) == cudaErrorNotReady,
          .running = read_word(g_.words.running),
          .ended = read_word(g_.words.ended),
          .phase = Phase(g_.call.phase.load(std::memory_order_relaxed)),
          .deadline_ms = g_.call.deadline_ms.load(std::memory_order_relaxed),
          .lost_context = lost ? cudaGetErrorString(idle) : "",
          .turns = g_.proxy != nullptr ? std::optional(g_.proxy->turns()) : std::nullopt};
}

void CudaWatcher::tell_fault() {
  const DeviceFault fault = fault_now(g_.words);  // read before `ended`, which then tells the fault's call
  const std::optional<Complaint> complaint = watch_.complain(fault, read_word(g_.words.ended));
  if (!complaint) return;
  switch (complaint->about) {
    case Complaint::About::kOwnRank:
      return g_.control.failed(complaint->text);
    case Complaint::About::kLateRank: {
      Suspicion suspicion = complaint->suspicion;
      suspicion.cut = cut_by_nic(suspicion.whom);
      return g_.control.accuse(suspicion, now_ns() - complaint->waited_ns);
    }
    case Complaint::About::kBrokenPromise:
      return g_.control.mismatch(complaint->culprit, complaint->text, complaint->certain);
  }
}

// Says why the NIC brings `rank` nothing any more; "" if the NIC reports no error. A wait for a queue that broke ends
// at once.
std::string CudaWatcher::cut_by_nic(uint32_t rank) {
  for (LostPeer peer; g_.nic != nullptr && g_.nic->lost(peer);)
    if (peer.rank == rank) return peer.reason;
  return {};
}

}  // namespace transload
