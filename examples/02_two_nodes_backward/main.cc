// Two nodes of two ranks: a layer forwards, then backwards through the handle that the forward dispatch left, so that
// no routing is exchanged again. Ranks are threads here; between the "nodes" tokens take the network that was chosen.
#include <transload/transload.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <thread>
#include <vector>

constexpr uint32_t kRanks = 4, kExperts = 8;
constexpr int64_t kTokens = 6, kHidden = 64, kTopK = 2;

// These conversions are exact for the small numbers of this example.
uint16_t to_bf16(float value) { return uint16_t(std::bit_cast<uint32_t>(value) >> 16); }
float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

using Rows = std::vector<uint16_t>;
transload::Tensor view(const void* data, int64_t rows) {
  return transload::matrix(data, rows, kHidden, transload::kBf16);
}

// Returns what a rank's experts multiply each received row by. An expert's factor is its number + 1; the gradient has
// the same factor.
std::vector<float> scales_of(const std::vector<uint32_t>& experts, const transload::DispatchOutputs& received) {
  std::vector<float> scales(received.rows);
  for (int64_t i = 0; i < received.rows * kTopK; ++i) {
    const int32_t local = received.topk_idx.as<int32_t>()[i];  // -1: another rank has the expert
    if (local >= 0) scales[i / kTopK] += received.topk_weights.as<float>()[i] * float(experts[local] + 1);
  }
  return scales;
}

// Runs the experts on the rows that a dispatch brought, and combines the results.
transload::CombineOutputs scale_and_combine(transload::Group& group, const transload::DispatchOutputs& received,
                                            const std::vector<float>& scales) {
  const transload::Lease lease = group.lease(received.x.bytes());  // memory that peers read in place
  for (int64_t i = 0; i < received.rows * kHidden; ++i) {
    static_cast<uint16_t*>(lease.data())[i] = to_bf16(scales[i / kHidden] * from_bf16(received.x.as<uint16_t>()[i]));
  }
  transload::CombineInputs back;
  back.x = view(lease.data(), received.rows);
  back.handle = received.handle;
  return group.combine(back);
}

// Counts the elements that differ from those of `in`, scaled by the sum of the factors of each token's experts.
int64_t wrong_in(const transload::Tensor& out, const Rows& in, const std::vector<int32_t>& topk_idx) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < kTokens * kHidden; ++i) {
    const int32_t* chosen = &topk_idx[i / kHidden * kTopK];
    const float scale = 0.5f * float(chosen[0] + 1) + 0.5f * float(chosen[1] + 1);
    wrong += out.as<uint16_t>()[i] != to_bf16(scale * from_bf16(in[i]));
  }
  return wrong;
}

int64_t run_rank(const transload::Bootstrap& bootstrap) {
  transload::GroupOptions options;
  options.bootstrap = bootstrap;
  options.topology = {{2, 2}};
  options.experts = kExperts;
  options.row_bytes_max = kHidden * sizeof(uint16_t);
  options.top_k_max = kTopK;
  options.scale_out = transload::ScaleOutChoice::kAuto;  // libfabric if it is there, else loopback
  transload::Group group(options);

  Rows x(kTokens * kHidden), gradient(kTokens * kHidden);
  std::vector<int32_t> topk_idx(kTokens * kTopK);
  const std::vector<float> topk_weights(kTokens * kTopK, 0.5f);
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(float((i + group.rank()) % 4));
  for (size_t i = 0; i < x.size(); ++i) gradient[i] = to_bf16(float(i % 3) - 1);
  for (size_t i = 0; i < topk_idx.size(); ++i) topk_idx[i] = int32_t((i * 5 + group.rank()) % kExperts);

  transload::DispatchInputs forward;
  forward.x = view(x.data(), kTokens);
  forward.topk_idx = transload::matrix(topk_idx.data(), kTokens, kTopK, transload::kI32);
  forward.topk_weights = transload::matrix(topk_weights.data(), kTokens, kTopK, transload::kF32);
  const transload::DispatchOutputs received = group.dispatch(forward);
  const std::vector<float> scales = scales_of(group.local_experts(), received);
  const transload::CombineOutputs y = scale_and_combine(group, received, scales);

  transload::DispatchInputs backward;  // the gradient of y goes where x went, in the same rows
  backward.x = view(gradient.data(), kTokens);
  backward.handle = received.handle;
  const transload::CombineOutputs gradient_of_x = scale_and_combine(group, group.dispatch(backward), scales);

  const int64_t wrong = wrong_in(y.x, x, topk_idx) + wrong_in(gradient_of_x.x, gradient, topk_idx);
  std::printf("rank %u: %ld rows in, over %s and %s; %ld elements wrong, forwards and backwards\n", group.rank(),
              long(received.rows), group.scale_up_name().c_str(), group.scale_out_name().c_str(), long(wrong));
  return wrong;
}

int main() {
  transload::Rendezvous rendezvous;  // where the ranks meet
  std::atomic<int64_t> wrong = 0;
  std::vector<std::thread> ranks;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    transload::Bootstrap bootstrap;
    bootstrap.rank = rank;
    bootstrap.ranks = kRanks;
    bootstrap.port = rendezvous.port();
    ranks.emplace_back([&wrong, bootstrap] {
      try {
        wrong += run_rank(bootstrap);
      } catch (const transload::Error& error) {
        std::fprintf(stderr, "rank %u: %s\n", bootstrap.rank, error.what());
        wrong += 1;
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  std::printf("%s\n", wrong == 0 ? "verified" : "WRONG");
  return wrong == 0 ? 0 : 1;
}
