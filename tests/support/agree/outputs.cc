// Running a program and digesting what it gives.
#include "tests/support/agree/outputs.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>

namespace transload::test {
namespace {

// A digest of a tensor's shape and type, and of its first `rows` rows; what lies behind them is room.
uint64_t digest_of(const Tensor& t, int64_t rows) {
  if (!t.given()) return 0;
  const int64_t shape[] = {t.dtype.code, t.dtype.bits, t.rows(), t.columns(), rows};
  return XXH3_64bits_withSeed(t.data, size_t(rows) * t.row_bytes(), XXH3_64bits(shape, sizeof shape));
}

}  // namespace

void Outputs::dispatched(uint32_t rank, uint32_t call, const DispatchOutputs& out) {
  add(rank, {call, "dispatch.rows", uint64_t(out.rows)});
  add(rank, {call, "dispatch.rows_needed", uint64_t(out.rows_needed)});
  add(rank, {call, "dispatch.scale_out_rows", uint64_t(out.scale_out_rows)});
  add(rank, {call, "dispatch.status", uint64_t(out.status.code)});
  add(rank, {call, "dispatch.x", digest_of(out.x, out.rows)});
  add(rank, {call, "dispatch.scales", digest_of(out.scales, out.rows)});
  add(rank, {call, "dispatch.topk_idx", digest_of(out.topk_idx, out.rows)});
  add(rank, {call, "dispatch.topk_weights", digest_of(out.topk_weights, out.rows)});
  add(rank, {call, "dispatch.source", digest_of(out.source, out.rows)});
  const size_t experts = out.expert_counts.size();
  add(rank, {call, "dispatch.expert_counts", XXH3_64bits(out.expert_counts.data(), experts * sizeof(int64_t))});
}

void Outputs::combined(uint32_t rank, uint32_t call, const CombineOutputs& out) {
  add(rank, {call, "combine.scale_out_rows", uint64_t(out.scale_out_rows)});
  add(rank, {call, "combine.x", digest_of(out.x, out.x.rows())});
  add(rank, {call, "combine.topk_weights", digest_of(out.topk_weights, out.topk_weights.rows())});
}

size_t Outputs::count() const {
  size_t sum = 0;
  for (const auto& all : of_) sum += all.size();
  return sum;
}

std::string Outputs::text_of(const std::vector<Output>& all, size_t i) {
  if (i >= all.size()) return "nothing";
  char digest[24];
  std::snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(all[i].digest));
  return std::string(all[i].name) + " of call " + std::to_string(all[i].call) + " is " + digest;
}

std::string Outputs::difference(const Outputs& wanted) const {
  std::string missing;  // told only if all outputs that are there are right
  for (size_t rank = 0; rank < of_.size(); ++rank) {
    const auto &mine = of_[rank], &others = wanted.of_[rank];
    for (size_t i = 0; i < std::max(mine.size(), others.size()); ++i) {
      const bool both = i < mine.size() && i < others.size();
      if (both && mine[i] == others[i]) continue;
      const std::string text =
          "rank " + std::to_string(rank) + ": " + text_of(mine, i) + ", must be: " + text_of(others, i);
      if (both) return text;
      if (missing.empty()) missing = text;
    }
  }
  return missing;
}

}  // namespace transload::test
