// A CUDA graph: dispatch, experts and combine are captured once and replayed, each time with another routing, and the
// host takes no part in a replay. There is one rank for each GPU of this machine; ranks are threads of this process.
#include <cuda_runtime.h>
#include <transload/transload.h>

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

constexpr uint32_t kExperts = 8;
constexpr int64_t kTokens = 100, kHidden = 64, kTopK = 2, kReplays = 5;

void must(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// These conversions are exact for the small numbers of this example.
__host__ __device__ uint16_t to_bf16(float value) { return uint16_t(__builtin_bit_cast(uint32_t, value) >> 16); }
__host__ __device__ float from_bf16(uint16_t bits) { return __builtin_bit_cast(float, uint32_t(bits) << 16); }
__host__ __device__ float factor_of(uint32_t expert) { return float(expert + 1); }

// Each block handles one row of rows_max; in rows past those that came all choices are -1.
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

template <class T>
T* on_gpu(const std::vector<T>& values) {
  T* there = nullptr;
  must(cudaMalloc(&there, values.size() * sizeof(T)));
  must(cudaMemcpy(there, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return there;
}

// Returns what the router chooses in one replay.
std::vector<int64_t> routing_of(uint32_t rank, int64_t replay) {
  std::vector<int64_t> idx(kTokens * kTopK);
  for (size_t i = 0; i < idx.size(); ++i) idx[i] = int64_t(i * 3 + rank + replay * 5) % kExperts;
  return idx;
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
  options.device = gpu;
  transload::Group group(options);
  const int64_t rows_max = kTokens * bootstrap.ranks;  // the most rows that can come
  const uint32_t first_expert = group.local_experts().empty() ? 0 : group.local_experts()[0];

  std::vector<uint16_t> x(kTokens * kHidden);
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(float((i + group.rank()) % 4));
  int64_t* const topk_idx = on_gpu(routing_of(group.rank(), 0));
  transload::DispatchInputs to_experts;
  to_experts.x = transload::matrix(on_gpu(x), kTokens, kHidden, transload::kBf16, gpu);
  to_experts.topk_idx = transload::matrix(topk_idx, kTokens, kTopK, transload::kI64, gpu);
  to_experts.topk_weights =
      transload::matrix(on_gpu(std::vector<float>(kTokens * kTopK, 0.5f)), kTokens, kTopK, transload::kF32, gpu);
  to_experts.rows_max = rows_max;  // with it nothing on the host depends on what comes
  to_experts.stream = {stream};
  const transload::Lease results = group.lease(rows_max * kHidden * sizeof(uint16_t));

  cudaGraph_t graph = nullptr;
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const transload::DispatchOutputs received = group.dispatch(to_experts);
  run_experts<<<uint32_t(rows_max), kHidden, 0, stream>>>(received.x, received.topk_idx, received.topk_weights,
                                                          first_expert, static_cast<uint16_t*>(results.data()));
  transload::CombineInputs back;
  back.x = transload::matrix(results.data(), rows_max, kHidden, transload::kBf16, gpu);
  back.handle = received.handle;
  back.stream = {stream};
  const transload::CombineOutputs combined = group.combine(back);
  must(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t replay_all = nullptr;
  must(cudaGraphInstantiate(&replay_all, graph, 0));
  must(cudaGraphUpload(replay_all, stream));

  int64_t wrong = 0;
  std::vector<uint16_t> out(x.size());
  for (int64_t replay = 0; replay < kReplays; ++replay) {
    const std::vector<int64_t> idx = routing_of(group.rank(), replay);
    must(cudaMemcpyAsync(topk_idx, idx.data(), idx.size() * sizeof(int64_t), cudaMemcpyHostToDevice, stream));
    must(cudaGraphLaunch(replay_all, stream));
    group.wait({stream});  // throws the fault that ended a call, if one did
    must(cudaMemcpy(out.data(), combined.x.data, out.size() * sizeof(uint16_t), cudaMemcpyDeviceToHost));
    for (int64_t i = 0; i < kTokens * kHidden; ++i) {
      float scale = 0;
      for (int64_t k = 0; k < kTopK; ++k) scale += 0.5f * factor_of(uint32_t(idx[i / kHidden * kTopK + k]));
      wrong += out[i] != to_bf16(scale * from_bf16(x[i]));
    }
  }
  std::printf("rank %u: %ld replays, its experts got %ld rows in the last, %ld elements came back wrong\n",
              group.rank(), long(kReplays), long(group.report(received.handle, {stream}).rows), long(wrong));
  must(cudaGraphExecDestroy(replay_all));
  must(cudaGraphDestroy(graph));
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
