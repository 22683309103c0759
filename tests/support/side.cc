// Host memory and GPUs as homes of tensors.
#include "tests/support/side.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#ifdef TRANSLOAD_CUDA
#include <cuda_runtime_api.h>
#endif

namespace transload::test {

namespace {

uint32_t gpus() {
  const char* const text = std::getenv("TRANSLOAD_TEST_GPUS");
  return text == nullptr ? 0 : uint32_t(std::strtoul(text, nullptr, 10));
}

class HostSide final : public TensorHome {
 public:
  void* room(size_t bytes) override {
    rooms_.emplace_back((bytes + 16) / 8 + 2);
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(rooms_.back().data()) + 15) & ~uintptr_t(15));
  }
  void write(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void reset() override { rooms_.clear(); }

 private:
  std::vector<std::vector<uint64_t>> rooms_;
};

#ifdef TRANSLOAD_CUDA
void must(cudaError_t error, const char* call) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(error));
}

class CudaSide final : public TensorHome {
 public:
  explicit CudaSide(int device) : device_(device) {
    must(cudaSetDevice(device), "cudaSetDevice");
    for (cudaStream_t* stream : {&stream_, &second_})
      must(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    must(cudaMalloc(reinterpret_cast<void**>(&base_), kBytes), "cudaMalloc");
  }
  ~CudaSide() override {
    cudaFree(base_);
    cudaStreamDestroy(stream_);
    cudaStreamDestroy(second_);
  }
  DLDevice device() const override { return {kDLCUDA, device_}; }
  Stream stream() const override { return {stream_}; }
  Stream second_stream() const override { return {second_}; }
  Tensor give(const Tensor& host) override {
    if (!host.given()) return host;
    Tensor there = host;
    there.device = device();
    there.data = room(host.bytes());
    if (host.bytes() > 0) write(there.data, host.data, host.bytes());
    return there;
  }
  void* room(size_t bytes) override {
    const size_t at = used_;
    used_ = (used_ + bytes + 255) / 256 * 256;
    if (used_ > kBytes) throw std::runtime_error("the test's device memory is used up");
    return base_ + at;
  }
  void write(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    settle();
    must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
    must(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }
  Tensor take(const Tensor& there) override {
    if (!there.given()) return there;
    settle();
    taken_.emplace_back(there.bytes() + 16);
    Tensor here = there;
    here.device = {kDLCPU, 0};
    here.data = taken_.back().data();
    if (there.bytes() > 0)
      must(cudaMemcpyAsync(here.data, there.data, there.bytes(), cudaMemcpyDeviceToHost, stream_), "cudaMemcpyAsync");
    must(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    return here;
  }
  void reset() override {
    used_ = 0;
    taken_.clear();
  }
  std::function<void()> record(const std::function<void()>& calls) override {
    cudaGraph_t graph = nullptr;
    must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    try {
      calls();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      throw;
    }
    must(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t made = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&made, graph, 0);
    cudaGraphDestroy(graph);
    must(error, "cudaGraphInstantiate");
    const std::shared_ptr<CUgraphExec_st> replay(made, cudaGraphExecDestroy);
    must(cudaGraphUpload(made, stream_), "cudaGraphUpload");
    settle();
    return [this, replay] { must(cudaGraphLaunch(replay.get(), stream_), "cudaGraphLaunch"); };
  }

 private:
  // A copy of pageable memory behind a kernel that waits for another rank would keep that rank's copies waiting.
  void settle() {
    cudaError_t state = cudaErrorNotReady;
    while ((state = cudaStreamQuery(stream_)) == cudaErrorNotReady) std::this_thread::yield();
    must(state, "cudaStreamQuery");
  }

  static constexpr size_t kBytes = 64 << 20;
  const int device_;
  cudaStream_t stream_ = nullptr, second_ = nullptr;
  char* base_ = nullptr;
  size_t used_ = 0;
  std::vector<std::vector<char>> taken_;
};
#endif

}  // namespace

uint32_t ranks_on_gpu(uint32_t ranks) { return gpus() == 0 ? 0 : (ranks + gpus() - 1) / gpus(); }

std::unique_ptr<TensorHome> make_host_side() { return std::make_unique<HostSide>(); }

TensorHome& side_of([[maybe_unused]] uint32_t rank) {
  thread_local std::unique_ptr<TensorHome> side;
  if (side == nullptr) {
#ifdef TRANSLOAD_CUDA
    if (gpus() > 0) side = std::make_unique<CudaSide>(int(rank % gpus()));
#endif
    if (side == nullptr) side = make_host_side();
  }
  return *side;
}

}  // namespace transload::test
