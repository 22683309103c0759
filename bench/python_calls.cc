// The C++ side of bench/python_calls.py: reads "first 2000", "cached 2000" or "combine 2000" and answers with the
// microseconds of a call.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "transload/transload.h"

namespace {

using namespace transload;

constexpr int64_t kTokens = 8, kHidden = 64, kExperts = 8, kTopK = 2;

struct Calls {
  static GroupOptions options() {
    GroupOptions all;
    all.topology = {{1}};
    all.experts = kExperts;
    all.row_bytes_max = kHidden * sizeof(uint16_t);
    all.tokens_max = 64;
    all.top_k_max = kTopK;
    return all;
  }

  Group group{options()};
  std::vector<uint16_t> x = std::vector<uint16_t>(kTokens * kHidden, 0x3f80);
  std::vector<int64_t> topk_idx = std::vector<int64_t>(kTokens * kTopK);
  std::vector<float> topk_weights = std::vector<float>(kTokens * kTopK, 1.0f);
  Lease lease;
  DispatchInputs first, cached;
  CombineInputs combine;

  Calls() {
    for (size_t i = 0; i < topk_idx.size(); ++i) topk_idx[i] = int64_t(i) % kExperts;
    first.x = cached.x = matrix(x.data(), kTokens, kHidden, kBf16);
    first.topk_idx = matrix(topk_idx.data(), kTokens, kTopK, kI64);
    first.topk_weights = matrix(topk_weights.data(), kTokens, kTopK, kF32);
    combine.handle = cached.handle = group.dispatch(first).handle;
    lease = group.lease(x.size() * sizeof(uint16_t));
    std::copy(x.begin(), x.end(), static_cast<uint16_t*>(lease.data()));
    combine.x = matrix(lease.data(), kTokens, kHidden, kBf16);
  }

  void call(const std::string& what) {
    if (what == "first")
      group.dispatch(first);
    else if (what == "cached")
      group.dispatch(cached);
    else
      group.combine(combine);
  }
};

}  // namespace

int main() {
  Calls calls;
  char what[16];
  int count = 0;
  while (std::scanf("%15s %d", what, &count) == 2 && count > 0) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) calls.call(what);
    const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - begin;
    std::printf("%.4f\n", spent.count() / count);
    std::fflush(stdout);
  }
}
