// Where a rank's tensors are: in the test's own memory, or on a GPU, with copies there and back.
#pragma once
#include <transload/transload.h>

#include <functional>
#include <memory>

namespace transload::test {

class TensorHome {
 public:
  virtual ~TensorHome() = default;
  virtual DLDevice device() const { return {kDLCPU, 0}; }
  virtual Stream stream() const { return {}; }
  // One more, for a second rank of the same thread: made next to the first, so that they share no queue of the GPU.
  virtual Stream second_stream() const { return {}; }
  // A copy of a host tensor, strides and all, where the group wants it; valid until reset().
  virtual Tensor give(const Tensor& host) { return host; }
  // Room of the rank's own that no peer can reach; valid until reset().
  virtual void* room(size_t bytes) = 0;
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  // What the group left in a tensor, as the host reads it; valid until reset(). Waits for the stream.
  virtual Tensor take(const Tensor& there) { return there; }
  virtual void reset() = 0;
  // Captures what `calls` gives to the stream; what comes back gives it, as often as it is called. On a host nothing is
  // captured: `calls` are made each time.
  virtual std::function<void()> record(const std::function<void()>& calls) { return calls; }
};

std::unique_ptr<TensorHome> make_host_side();
// The side of this thread's rank: on the host, or, if TRANSLOAD_TEST_GPUS says how many GPUs there are, on GPU
// rank % that. Its memory is taken once: nothing is allocated while kernels of other ranks may wait.
TensorHome& side_of(uint32_t rank);
// How many ranks share a GPU in a world of so many; 0: ranks are on the host.
uint32_t ranks_on_gpu(uint32_t ranks);
inline bool on_gpus() { return ranks_on_gpu(1) > 0; }

// Why a test skips where ranks are on GPUs.
constexpr const char* kHostTensors = "ranks are on GPUs, and it makes tensors of its own on the host";
constexpr const char* kHostNetwork = "ranks are on GPUs, which reach each other without libfabric";
constexpr const char* kHostHeap = "ranks are on GPUs, where no private memory stands in for slabs";
constexpr const char* kGpuOnly = "ranks are on the host, and it asks for what GPUs alone have";
constexpr const char* kHostMarks = "ranks are on GPUs, and only warps of the host count marks";

}  // namespace transload::test
