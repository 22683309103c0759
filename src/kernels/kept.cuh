// KEPT: what count_kept_rows() (runtime/dispatch_call.h) does, by one CTA, behind the dispatch that dropped rows.
//
//   reads    the report, the choices that came with the rows
//   writes   counts of experts, unless every row was kept
#pragma once
#include <cstdint>

#include "base/math.h"
#include "kernels/launch.h"
#include "kernels/words.cuh"

namespace transload {

constexpr uint32_t kKeptExperts = 4096;  // that are counted at a time

// `counts`: room for kKeptExperts in near memory.
__device__ inline void count_kept(const KeptArgs& a, uint32_t* counts) {
  if (given_up(a.call) || a.report->rows_needed <= a.rows_max) return;
  const uint64_t choices = a.rows_max * a.top_k;
  for (uint32_t first = 0; first < a.experts; first += kKeptExperts) {
    const uint32_t count = a.experts - first < kKeptExperts ? a.experts - first : kKeptExperts;
    for (uint32_t e = threadIdx.x; e < count; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (uint64_t i = threadIdx.x; i < choices; i += blockDim.x) {
      const uint32_t e = uint32_t(a.topk_idx[i]) - first;  // no expert: beyond all
      if (e < count) atomicAdd(counts + e, 1u);
    }
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < count; e += blockDim.x)
      a.expert_counts[first + e] = int64_t(round_up(uint64_t(counts[e]), a.alignment));
    __syncthreads();
  }
}

}  // namespace transload
