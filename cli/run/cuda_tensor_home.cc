// A GPU as a home of tensors: memory that was taken once, a stream of its own, events around calls, graphs of them.
#include <cuda_runtime_api.h>

#include <thread>
#include <vector>

#include "cli/run/tensor_home.h"
#include "gpu/cuda_error.h"

namespace transload::cli {
namespace {

// A graph that can be launched. It lives as long as its last copy.
struct Graph {
  cudaGraphExec_t exec = nullptr;
  Graph() = default;
  ~Graph() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

class CudaHome final : public TensorHome {
 public:
  CudaHome(int device, size_t bytes) : device_(device), bytes_(bytes) {
    check(cudaSetDevice(device), "cudaSetDevice");
    try {
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      check(cudaEventCreate(&begin_), "cudaEventCreate");
      check(cudaEventCreate(&end_), "cudaEventCreate");
      if (bytes > 0) check(cudaMalloc(reinterpret_cast<void**>(&base_), bytes), "cudaMalloc");
    } catch (...) {
      drop();
      throw;
    }
  }
  ~CudaHome() override { drop(); }

  DLDevice device() const override { return {kDLCUDA, device_}; }
  Stream stream() const override { return {stream_}; }

  Tensor put(const Tensor& host) override {
    if (!host.given()) return host;
    Tensor there = host;
    there.device = device();
    there.data = room(host.bytes());
    write(there.data, host.data, host.bytes());
    return there;
  }

  void* room(size_t bytes) override {
    if (home_bytes(bytes) > bytes_ - used_)
      throw Error(Code::kOutOfMemory, "device memory of a rank: " + std::to_string(bytes) + " bytes, " +
                                          std::to_string(bytes_ - used_) + " of " + std::to_string(bytes_) + " left");
    char* const at = base_ + used_;
    used_ += home_bytes(bytes);
    return at;
  }

  void* draft(void*, size_t bytes) override { return host_memory(bytes); }

  void write(void* there, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    settle();
    check(cudaMemcpyAsync(there, from, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  Tensor take(const Tensor& there) override {
    if (!there.given()) return there;
    Tensor here = there;
    here.device = {kDLCPU, 0};
    here.data = host_memory(there.bytes());
    if (there.bytes() == 0) return here;
    settle();
    check(cudaMemcpyAsync(here.data, there.data, there.bytes(), cudaMemcpyDeviceToHost, stream_), "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    return here;
  }

  void forget() override { lent_ = 0; }
  void reset() override {
    forget();
    used_ = 0;
  }

  void start() override { check(cudaEventRecord(begin_, stream_), "cudaEventRecord"); }
  void stop() override { check(cudaEventRecord(end_, stream_), "cudaEventRecord"); }
  double us() const override {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    return double(ms) * 1e3;
  }

  // Captures this thread's calls alone: other ranks of the process may do what a capture forbids.
  std::function<void()> record(const std::function<void()>& calls) override {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    try {
      calls();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    const auto recorded = std::make_shared<Graph>();
    const cudaError_t made = cudaGraphInstantiate(&recorded->exec, graph, 0);
    cudaGraphDestroy(graph);
    check(made, "cudaGraphInstantiate");
    // The graph goes to the device now, while no rank waits for another; else its first launch would bring it there.
    check(cudaGraphUpload(recorded->exec, stream_), "cudaGraphUpload");
    settle();
    return [this, recorded] { check(cudaGraphLaunch(recorded->exec, stream_), "cudaGraphLaunch"); };
  }

 private:
  void check(cudaError_t error, const char* call) const { check_cuda(error, call, device_); }

  void drop() {
    if (base_ != nullptr) cudaFree(base_);
    if (end_ != nullptr) cudaEventDestroy(end_);
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  // A copy of pageable memory that is queued after a kernel which waits for another rank would keep that rank's copies
  // waiting.
  void settle() const {
    cudaError_t state = cudaErrorNotReady;
    while ((state = cudaStreamQuery(stream_)) == cudaErrorNotReady) std::this_thread::yield();
    check(state, "cudaStreamQuery");
  }

  // Lends one buffer after another; after forget() they are lent again.
  void* host_memory(size_t bytes) {
    if (lent_ == buffers_.size()) buffers_.emplace_back();
    std::vector<char>& buffer = buffers_[lent_++];
    if (buffer.size() < bytes + 16) buffer.resize(bytes + 16);
    return buffer.data();
  }

  const int device_;
  const size_t bytes_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  char* base_ = nullptr;
  size_t used_ = 0;
  std::vector<std::vector<char>> buffers_;
  size_t lent_ = 0;
};

}  // namespace

std::unique_ptr<TensorHome> make_cuda_home(int device, size_t bytes) {
  return std::make_unique<CudaHome>(device, bytes);
}

uint64_t device_bytes_in_use(uint32_t gpus) {
  uint64_t in_use = 0;
  for (uint32_t gpu = 0; gpu < gpus; ++gpu) {
    size_t free = 0, total = 0;
    check_cuda(cudaSetDevice(int(gpu)), "cudaSetDevice", int(gpu));
    check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", int(gpu));
    in_use += total - free;
  }
  return in_use;
}

}  // namespace transload::cli
