// Handing what a captured call uses to its graph, and freeing it when CUDA lets go of it.
#include "runtime/cuda/graph_keep.h"

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "gpu/cuda_error.h"
#include "os/thread.h"

namespace transload {

namespace {

using KeptAlive = std::shared_ptr<const void>;

// CUDA tells that a graph is gone where no call of CUDA is allowed, so what was kept is freed in a thread of its own,
// which ends with the process.
class Sweeper {
 public:
  Sweeper() {
    start_thread([this] { sweep(); }).detach();
  }

  void take(KeptAlive used) {
    const std::lock_guard lock(mutex_);
    gone_.push_back(std::move(used));
    come_.notify_one();
  }

 private:
  [[noreturn]] void sweep() {
    // The mode is this thread's alone: what it frees must not spoil a capture of another one.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal;
    cudaThreadExchangeStreamCaptureMode(&mode);
    for (;;) {
      std::vector<KeptAlive> now;
      std::unique_lock lock(mutex_);
      come_.wait(lock, [&] { return !gone_.empty(); });
      now.swap(gone_);
      lock.unlock();
    }
  }

  std::mutex mutex_;
  std::condition_variable come_;
  std::vector<KeptAlive> gone_;
};

Sweeper& sweeper() {
  static Sweeper* const one = new Sweeper;  // never destroyed: its thread outlives static objects
  return *one;
}

void CUDART_CB graph_is_gone(void* kept) {
  const std::unique_ptr<KeptAlive> used(static_cast<KeptAlive*>(kept));
  sweeper().take(std::move(*used));
}

}  // namespace

void keep_with_graph(CUstream_st* stream, KeptAlive used, int device) {
  cudaStreamCaptureStatus state = cudaStreamCaptureStatusNone;
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamGetCaptureInfo(stream, &state, nullptr, &graph), "cudaStreamGetCaptureInfo", device);
  sweeper();
  auto kept = std::make_unique<KeptAlive>(std::move(used));
  cudaUserObject_t object = nullptr;
  check_cuda(cudaUserObjectCreate(&object, kept.get(), graph_is_gone, 1, cudaUserObjectNoDestructorSync),
             "cudaUserObjectCreate", device);
  kept.release();  // the object owns `kept` now
  const cudaError_t error = cudaGraphRetainUserObject(graph, object, 1, cudaGraphUserObjectMove);
  if (error != cudaSuccess) cudaUserObjectRelease(object, 1);
  check_cuda(error, "cudaGraphRetainUserObject", device);
}

}  // namespace transload
