// RECOUNT: what rows_max leaves to do after a dispatch. On a host count_kept_rows() (runtime/host/dispatch_call.h) does
// this.
//
//   reads    the report, the choices that came with the rows
//   writes   if rows were dropped, counts of experts; else no expert, and weights of 0, after the rows that came
#pragma once
#include <cstdint>

#include "base/math.h"
#include "kernels/block_wait.cuh"
#include "kernels/tables/table_kernels.h"

namespace transload {

constexpr uint32_t kRecountExperts = 4096;  // experts that are counted at a time

// One block calls it. `counts` has room for kRecountExperts in near memory.
__device__ inline void count_kept(const RecountArgs& a, uint32_t* counts) {
  const uint64_t choices = a.rows_max * a.top_k;
  for (uint32_t first = 0; first < a.experts; first += kRecountExperts) {
    const uint32_t count = a.experts - first < kRecountExperts ? a.experts - first : kRecountExperts;
    for (uint32_t e = threadIdx.x; e < count; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (uint64_t i = threadIdx.x; i < choices; i += blockDim.x) {
      // No expert, which is -1, becomes a number beyond all experts.
      const uint32_t e = uint32_t(a.wide_idx ? a.wide_idx[i] : a.topk_idx[i]) - first;
      if (e < count) atomicAdd(counts + e, 1u);
    }
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < count; e += blockDim.x)
      a.expert_counts[first + e] = int64_t(round_up(uint64_t(counts[e]), a.alignment));
    __syncthreads();
  }
}

// All blocks of a kernel call it. It is needed because outputs lie where those of an earlier call did.
__device__ inline void clear_behind(const RecountArgs& a, uint64_t rows) {
  const uint64_t begin = rows * a.top_k, end = a.rows_max * a.top_k, step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = begin + uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < end; i += step) {
    if (a.wide_idx)
      a.wide_idx[i] = -1;
    else
      a.topk_idx[i] = -1;
    a.topk_weights[i] = 0;
  }
}

__device__ inline void finish_rows(const RecountArgs& a, uint32_t* counts) {
  if (given_up(a.call)) return;
  const uint64_t rows = a.report->rows_needed;
  if (rows < a.rows_max)
    clear_behind(a, rows);
  else if (rows > a.rows_max && blockIdx.x == 0)
    count_kept(a, counts);
}

}  // namespace transload
