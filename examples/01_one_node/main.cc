// One node: each rank sends its tokens to the experts that they chose and gets the weighted sum of the results back.
// The ranks are four threads of this process, or the processes that a launcher started: mpirun -n 4 one_node
#include <transload/transload.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <thread>
#include <vector>

constexpr uint32_t kRanks = 4, kExperts = 8;
constexpr int64_t kHidden = 64, kTopK = 2;

// These conversions are exact for the small numbers of this example.
uint16_t to_bf16(float value) { return uint16_t(std::bit_cast<uint32_t>(value) >> 16); }
float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

float factor_of(uint32_t expert) { return float(expert + 1); }

// Runs the experts of this rank: each scales a row by its own factor and by the router's weight.
void run_experts(const std::vector<uint32_t>& experts, const transload::DispatchOutputs& in, uint16_t* out) {
  for (int64_t row = 0; row < in.rows; ++row) {
    float scale = 0;
    for (int64_t k = row * kTopK; k < (row + 1) * kTopK; ++k) {
      const int32_t local = in.topk_idx.as<int32_t>()[k];  // -1: another rank has the expert
      if (local >= 0) scale += in.topk_weights.as<float>()[k] * factor_of(experts[local]);
    }
    for (int64_t at = row * kHidden; at < (row + 1) * kHidden; ++at) {
      out[at] = to_bf16(scale * from_bf16(in.x.as<uint16_t>()[at]));
    }
  }
}

// Returns how many elements came back wrong.
int64_t run_rank(const transload::Bootstrap& bootstrap) {
  transload::GroupOptions options;
  options.bootstrap = bootstrap;
  options.topology = {{bootstrap.ranks}};  // one node
  options.experts = kExperts;
  options.row_bytes_max = kHidden * sizeof(uint16_t);
  options.top_k_max = kTopK;
  transload::Group group(options);

  const int64_t tokens = 3 + group.rank();  // ranks may have different numbers of tokens
  std::vector<uint16_t> x(tokens * kHidden);
  std::vector<int64_t> topk_idx(tokens * kTopK);
  std::vector<float> topk_weights(tokens * kTopK, 0.5f);
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(float((i + group.rank()) % 4));
  for (size_t i = 0; i < topk_idx.size(); ++i) topk_idx[i] = int64_t(i * 3 + group.rank()) % kExperts;

  transload::DispatchInputs to_experts;
  to_experts.x = transload::matrix(x.data(), tokens, kHidden, transload::kBf16);
  to_experts.topk_idx = transload::matrix(topk_idx.data(), tokens, kTopK, transload::kI64);
  to_experts.topk_weights = transload::matrix(topk_weights.data(), tokens, kTopK, transload::kF32);
  const transload::DispatchOutputs received = group.dispatch(to_experts);

  const transload::Lease lease = group.lease(received.x.bytes());  // memory that peers read in place
  run_experts(group.local_experts(), received, static_cast<uint16_t*>(lease.data()));

  transload::CombineInputs back;
  back.x = transload::matrix(lease.data(), received.rows, kHidden, transload::kBf16);
  back.handle = received.handle;
  const transload::CombineOutputs combined = group.combine(back);

  int64_t wrong = 0;
  for (int64_t i = 0; i < tokens * kHidden; ++i) {
    float scale = 0;
    for (int64_t k = 0; k < kTopK; ++k) scale += 0.5f * factor_of(uint32_t(topk_idx[i / kHidden * kTopK + k]));
    wrong += combined.x.as<uint16_t>()[i] != to_bf16(scale * from_bf16(x[i]));
  }
  std::printf("rank %u: sent %ld tokens, its experts got %ld rows, %ld of %ld elements came back wrong\n", group.rank(),
              long(tokens), long(received.rows), long(wrong), long(tokens * kHidden));
  return wrong;
}

int64_t run_rank_or_say_why(const transload::Bootstrap& bootstrap) {
  try {
    return run_rank(bootstrap);
  } catch (const transload::Error& error) {
    std::fprintf(stderr, "rank %u: %s\n", bootstrap.rank, error.what());
    return 1;
  }
}

int main() {
  if (transload::Bootstrap::has_environment()) {
    return run_rank_or_say_why(transload::Bootstrap::from_environment()) == 0 ? 0 : 1;
  }
  transload::Rendezvous rendezvous;  // where the ranks meet
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> ranks;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    transload::Bootstrap bootstrap;
    bootstrap.rank = rank;
    bootstrap.ranks = kRanks;
    bootstrap.port = rendezvous.port();
    ranks.emplace_back([&wrong, bootstrap] { wrong += run_rank_or_say_why(bootstrap); });
  }
  for (std::thread& rank : ranks) rank.join();
  std::printf("%s\n", wrong == 0 ? "verified" : "WRONG");
  return wrong == 0 ? 0 : 1;
}
