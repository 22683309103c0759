// The home of a test rank's tensors: the host, or a GPU if the environment says so.
#pragma once
#include "cli/run/tensor_home.h"

namespace transload::test {

using cli::TensorHome;

// The home of this thread's rank: on the host, or, if TRANSLOAD_TEST_GPUS says how many GPUs there are, on GPU
// rank % that. Its memory is taken once: nothing is allocated while kernels of other ranks may wait.
TensorHome& side_of(uint32_t rank);
// One more stream of that home, for a second rank of the same thread: made next to the first, so that they share no
// queue of the GPU.
Stream second_stream_of(uint32_t rank);
// Bytes that the GPU of that rank has free; 0 on the host.
uint64_t free_bytes_of(uint32_t rank);
// How many of this number of ranks share a GPU, at most; 0: ranks are on the host.
uint32_t ranks_on_gpu(uint32_t ranks);
// True if each of these ranks can have a queue of its GPU, or ranks are on the host.
bool fit_on_gpus(uint32_t ranks);
// The provider that TRANSLOAD_TEST_NETWORK names, for the rails of ranks on GPUs in every test; null: rails are mapped
// where a test does not ask for a network.
const char* network_of_gpus();
inline bool on_gpus() { return ranks_on_gpu(1) > 0; }

// Why tests skip that ranks on GPUs, or on the host, cannot run.
constexpr const char* kHostTensors = "ranks are on GPUs, and it makes tensors of its own on the host";
constexpr const char* kHostHeap = "ranks are on GPUs, where no private memory stands in for slabs";
constexpr const char* kGpuOnly = "ranks are on the host, and it asks for what GPUs alone have";
constexpr const char* kTooManyRanks = "ranks are on GPUs, more on each than it has queues: the library refuses them";
constexpr const char* kHostSituations = "ranks are on GPUs, and only warps of the host count situations";

}  // namespace transload::test
