// GPUs: each rank sends the tokens that lie on its GPU to the experts that they chose, runs its own experts in a
// kernel, and gets the weighted sums back. There is one rank for each GPU of this machine; ranks are threads of this
// process.
#include <cuda_runtime.h>
#include <transload/transload.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

constexpr uint32_t kExperts = 8;
constexpr int64_t kTokens = 100, kHidden = 64, kTopK = 2;

void must(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// These conversions are exact for the small numbers of this example.
__host__ __device__ uint16_t to_bf16(float value) { return uint16_t(__builtin_bit_cast(uint32_t, value) >> 16); }
__host__ __device__ float from_bf16(uint16_t bits) { return __builtin_bit_cast(float, uint32_t(bits) << 16); }
__host__ __device__ float factor_of(uint32_t expert) { return float(expert + 1); }

// Each block handles one row: each expert scales it by its factor and by the router's weight. The global number of an
// expert of this rank is `first_expert` plus its local number, which is -1 if another rank has the expert.
__global__ void run_experts(transload::Tensor x, transload::Tensor idx, transload::Tensor weights,
                            uint32_t first_expert, uint16_t* out) {
  const int64_t row = blockIdx.x, at = row * kHidden + threadIdx.x;
  float scale = 0;
  for (int64_t k = row * kTopK; k < (row + 1) * kTopK; ++k) {
    const int32_t local = static_cast<const int32_t*>(idx.data)[k];
    if (local >= 0) scale += static_cast<const float*>(weights.data)[k] * factor_of(first_expert + local);
  }
  out[at] = to_bf16(scale * from_bf16(static_cast<const uint16_t*>(x.data)[at]));
}

// Returns device memory with a copy of `values`, which is freed at the end of the process.
template <class T>
T* on_gpu(const std::vector<T>& values) {
  T* there = nullptr;
  must(cudaMalloc(&there, values.size() * sizeof(T)));
  must(cudaMemcpy(there, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return there;
}

// Returns how many elements came back wrong.
int64_t run_rank(const transload::Bootstrap& bootstrap) {
  const DLDevice gpu{kDLCUDA, int32_t(bootstrap.rank)};
  must(cudaSetDevice(gpu.device_id));
  cudaStream_t stream = nullptr;
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));

  transload::GroupOptions options;
  options.bootstrap = bootstrap;
  options.topology = {{bootstrap.ranks}};
  options.experts = kExperts;
  options.tokens_max = kTokens;
  options.row_bytes_max = kHidden * sizeof(uint16_t);
  options.top_k_max = kTopK;
  options.device = gpu;  // the tensors lie on this GPU, and it moves them
  transload::Group group(options);

  std::vector<uint16_t> x(kTokens * kHidden);
  std::vector<int64_t> topk_idx(kTokens * kTopK);
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(float((i + group.rank()) % 4));
  for (size_t i = 0; i < topk_idx.size(); ++i) topk_idx[i] = int64_t(i * 3 + group.rank()) % kExperts;
  const std::vector<float> topk_weights(kTokens * kTopK, 0.5f);

  transload::DispatchInputs to_experts;
  to_experts.x = transload::matrix(on_gpu(x), kTokens, kHidden, transload::kBf16, gpu);
  to_experts.topk_idx = transload::matrix(on_gpu(topk_idx), kTokens, kTopK, transload::kI64, gpu);
  to_experts.topk_weights = transload::matrix(on_gpu(topk_weights), kTokens, kTopK, transload::kF32, gpu);
  to_experts.stream = {stream};                                            // a call is work on this stream
  const transload::DispatchOutputs received = group.dispatch(to_experts);  // the host waits for the number of rows

  const transload::Lease results = group.lease(received.x.bytes());  // memory that peers read in place
  const uint32_t first_expert = group.local_experts().empty() ? 0 : group.local_experts()[0];
  if (received.rows > 0)
    run_experts<<<uint32_t(received.rows), kHidden, 0, stream>>>(received.x, received.topk_idx, received.topk_weights,
                                                                 first_expert, static_cast<uint16_t*>(results.data()));
  must(cudaGetLastError());

  transload::CombineInputs back;
  back.x = transload::matrix(results.data(), received.rows, kHidden, transload::kBf16, gpu);
  back.handle = received.handle;
  back.stream = {stream};
  const transload::CombineOutputs combined = group.combine(back);
  group.wait({stream});  // throws the fault that ended a call, if one did

  std::vector<uint16_t> out(x.size());
  must(cudaMemcpy(out.data(), combined.x.data, out.size() * sizeof(uint16_t), cudaMemcpyDeviceToHost));
  int64_t wrong = 0;
  for (int64_t i = 0; i < kTokens * kHidden; ++i) {
    float scale = 0;
    for (int64_t k = 0; k < kTopK; ++k) scale += 0.5f * factor_of(uint32_t(topk_idx[i / kHidden * kTopK + k]));
    wrong += out[i] != to_bf16(scale * from_bf16(x[i]));
  }
  std::printf("rank %u: its experts got %ld rows, %ld of %ld elements came back wrong\n", group.rank(),
              long(received.rows), long(wrong), long(kTokens * kHidden));
  return wrong;
}

int64_t run_rank_or_say_why(const transload::Bootstrap& bootstrap) {
  try {
    return run_rank(bootstrap);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %u: %s\n", bootstrap.rank, error.what());
    return 1;
  }
}

int main() {
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) {
    std::puts("skipped: no GPU is here");
    return 77;
  }
  transload::Rendezvous rendezvous;
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> ranks;
  for (uint32_t rank = 0; rank < uint32_t(gpus); ++rank) {
    transload::Bootstrap bootstrap;
    bootstrap.rank = rank;
    bootstrap.ranks = uint32_t(gpus);
    bootstrap.port = rendezvous.port();
    ranks.emplace_back([&wrong, bootstrap] { wrong += run_rank_or_say_why(bootstrap); });
  }
  for (std::thread& rank : ranks) rank.join();
  std::printf("%s\n", wrong == 0 ? "verified" : "WRONG");
  return wrong == 0 ? 0 : 1;
}
