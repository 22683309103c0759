// Keeps a home for each thread, and a second stream beside it.
#include "tests/support/side.h"

#include <cstdlib>
#include <memory>
#include <utility>

#include "gpu/device_info.h"

#ifdef TRANSLOAD_CUDA
#include <cuda_runtime_api.h>

#include "gpu/cuda_error.h"
#endif

namespace transload::test {

namespace {

uint32_t gpus() {
  const char* const text = std::getenv("TRANSLOAD_TEST_GPUS");
  return text == nullptr ? 0 : uint32_t(std::strtoul(text, nullptr, 10));
}

struct RankHome {
  std::unique_ptr<TensorHome> home;
  std::shared_ptr<void> second;  // a cudaStream_t, or null
};

#ifdef TRANSLOAD_CUDA
constexpr size_t kDeviceBytes = 64 << 20;

RankHome home_on_gpu(int device) {
  std::unique_ptr<TensorHome> home = cli::make_cuda_home(device, kDeviceBytes);
  cudaStream_t second = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", device);
  return {std::move(home), {second, [](void* stream) { cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }}};
}
#endif

RankHome& side_here([[maybe_unused]] uint32_t rank) {
  thread_local RankHome side;
  if (side.home != nullptr) return side;
#ifdef TRANSLOAD_CUDA
  if (gpus() > 0) return side = home_on_gpu(int(rank % gpus()));
#endif
  side.home = cli::make_host_home();
  return side;
}

}  // namespace

uint32_t ranks_on_gpu(uint32_t ranks) { return gpus() == 0 ? 0 : (ranks + gpus() - 1) / gpus(); }
const char* network_of_gpus() { return std::getenv("TRANSLOAD_TEST_NETWORK"); }
bool fit_on_gpus(uint32_t ranks) { return ranks_on_gpu(ranks) <= device_queues(); }

TensorHome& side_of(uint32_t rank) { return *side_here(rank).home; }
#ifdef TRANSLOAD_CUDA
uint64_t free_bytes_of(uint32_t rank) {
  if (gpus() == 0) return 0;
  const int device = int(rank % gpus());
  size_t free = 0, total = 0;
  check_cuda(cudaSetDevice(device), "cudaSetDevice", device);
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", device);
  return free;
}
#else
uint64_t free_bytes_of(uint32_t) { return 0; }
#endif
Stream second_stream_of(uint32_t rank) { return {side_here(rank).second.get()}; }

}  // namespace transload::test
