// CONTENT: every byte of a row, and of what comes with it, is what its source sent.
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "sim/checkers/results.h"
#include "sim/scenario/workload.h"

namespace transload {

inline std::string differs(const char* what, size_t row, reference::Source s) {
  return std::string(what) + " of row " + std::to_string(row) + " (" + text_of(s) + ") differ from what was sent";
}

inline std::string check_columns(const DispatchResult& r) {
  const uint32_t k = r.problem.top_k;
  for (size_t i = 0; i < r.want.source.size(); ++i) {
    if (std::memcmp(r.out.topk_idx.as<int32_t>() + i * k, r.want.ids.data() + i * k, k * 4) != 0)
      return differs("expert ids", i, r.want.source[i]);
    if (std::memcmp(r.out.topk_weights.as<float>() + i * k, r.want.weights.data() + i * k, k * 4) != 0)
      return differs("weights", i, r.want.source[i]);
  }
  return r.out.expert_counts == r.want.expert_counts ? "" : "the counts of experts differ from the reference's";
}

inline std::string check_content(const DispatchResult& r) {
  std::vector<char> row(r.row_bytes);
  for (size_t i = 0; i < r.want.source.size(); ++i) {
    const reference::Source s = r.want.source[i];
    make_row(r.salt, s, r.row_bytes, row.data());
    if (std::memcmp(r.out.x.as<char>() + i * r.row_bytes, row.data(), r.row_bytes) != 0) return differs("bytes", i, s);
    for (uint32_t c = 0; c < r.scales; ++c)
      if (r.out.scales.as<uint32_t>()[i * r.scales + c] != make_scale(r.salt, s.rank, s.token, c))
        return differs("scales", i, s);
  }
  return r.cached ? "" : check_columns(r);
}

}  // namespace transload
