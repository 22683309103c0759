// One rank's tensors of a first dispatch, on the host.
#pragma once
#include <cstdint>
#include <vector>

#include "tests/support/team.h"

namespace transload::test {

struct Given {
  Given(const World& w, const reference::Problem& problem, uint32_t rank, uint64_t salt = 7)
      : routes(problem.routes[rank]), x(size_t(routes.tokens) * w.columns + 8) {
    auto* const rows = reinterpret_cast<uint16_t*>(aligned(x));
    for (int64_t t = 0; t < routes.tokens; ++t)
      for (uint32_t c = 0; c < w.columns; ++c) rows[t * w.columns + c] = element(salt, rank, t, c);
    in.x = matrix(rows, routes.tokens, w.columns, kBf16);
    in.topk_idx = matrix(routes.ids.data(), routes.tokens, problem.top_k, kI32);
    in.topk_weights = matrix(routes.weights.data(), routes.tokens, problem.top_k, kF32);
  }
  Given(const Given&) = delete;
  Given& operator=(const Given&) = delete;

  static char* aligned(std::vector<uint16_t>& of) {
    return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(of.data()) + 15) & ~uintptr_t(15));
  }

  const reference::Routes routes;
  std::vector<uint16_t> x;
  DispatchInputs in;
};

}  // namespace transload::test
