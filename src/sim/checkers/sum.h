// SUM: combine's result, to the bit.
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "sim/checkers/results.h"
#include "sim/scenario/workload.h"

namespace transload {

// What `owner` returns for a token depends on both, so that a row at the wrong place is seen.
inline uint64_t return_salt(uint64_t salt, uint32_t owner) { return salt * 31 + 7 + owner; }

inline std::string check_weight_sum(const CombineResult& r, int64_t token) {
  const uint32_t k = r.problem.top_k;
  std::vector<float> want(k), part(k);
  const auto weights = [&](uint32_t owner, reference::Source s) {
    for (uint32_t j = 0; j < k; ++j) part[j] = make_weight(r.salt, owner, s, j);
    return part.data();
  };
  reference::sum_weights(r.problem, {r.rank, token}, weights, want.data());
  if (std::memcmp(r.out.topk_weights.as<float>() + size_t(token) * k, want.data(), k * 4) == 0) return "";
  return "the summed weights of token " + std::to_string(token) + " differ from the reference's";
}

inline std::string check_sum(const CombineResult& r) {
  const int64_t columns = int64_t(r.row_bytes / 2);
  std::vector<uint16_t> want(size_t(columns) + 4), row(size_t(columns) + 4), bias[2];
  for (int64_t token = 0; token < r.problem.routes[r.rank].tokens; ++token) {
    reference::SumInputs in{{r.rank, token}, columns, r.wire_f32, {nullptr, nullptr}};
    for (int b = 0; b < r.biases; ++b) {
      bias[b].resize(size_t(columns) + 4);
      make_row(bias_salt(r.salt, b), {r.rank, token}, r.row_bytes, bias[b].data());
      in.bias[b] = bias[b].data();
    }
    const auto returned = [&](uint32_t owner, reference::Source s) {
      make_row(return_salt(r.salt, owner), s, r.row_bytes, row.data());
      return row.data();
    };
    reference::sum(r.problem, in, returned, want.data());
    if (std::memcmp(r.out.x.as<char>() + size_t(token) * r.row_bytes, want.data(), r.row_bytes) != 0)
      return "the sum of token " + std::to_string(token) + " differs from the reference's";
    if (!r.weights) continue;
    if (std::string wrong = check_weight_sum(r, token); !wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace transload
