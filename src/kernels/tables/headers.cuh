// Scales and headers, written side by side for tokens that are about to be sent.
#pragma once
#include <cstdint>

#include "kernels/block_wait.cuh"
#include "kernels/tables/table_kernels.h"

namespace transload {

// Tokens of mine that follow each other.
struct TokenRange {
  uint64_t first;
  uint32_t count;
};

__device__ inline Header* header_of(char* headers, const TokenShape& shape, uint64_t token) {
  return reinterpret_cast<Header*>(headers + token * shape.header_bytes());
}

// Writes a unit of a token in one store.
template <class Unit>
__device__ inline void store(Unit* to, const Unit& unit) {
  static_assert(sizeof(Unit) == kTokenUnit);
  *reinterpret_cast<uint4*>(to) = __builtin_bit_cast(uint4, unit);
}

// All threads of a block call it.
__device__ inline void stage_scales(const ScaleSource& from, const TokenShape& shape, char* to, TokenRange range) {
  if (from.at == nullptr) return;
  for (uint32_t i = threadIdx.x; i < range.count * shape.scales; i += blockDim.x) {
    const uint64_t token = range.first + i / shape.scales;
    const uint32_t scale = i % shape.scales;
    reinterpret_cast<uint32_t*>(to + token * shape.scale_room())[scale] =
        from.at[int64_t(token) * from.token_stride + int64_t(scale) * from.scale_stride];
  }
}

// All blocks of a kernel call it.
__device__ inline void write_headers(const HeaderArgs& a) {
  constexpr uint32_t kTokens = 64;  // tokens that a block takes at a time
  if (given_up(a.call)) return;
  for (uint64_t first = uint64_t(blockIdx.x) * kTokens; first < a.tokens; first += uint64_t(gridDim.x) * kTokens) {
    const TokenRange range{first, uint32_t(a.tokens - first < kTokens ? a.tokens - first : kTokens)};
    stage_scales(a.scales, a.shape, a.staged_scales, range);
    if (a.headers == nullptr) continue;
    for (uint32_t i = threadIdx.x; i < range.count; i += blockDim.x)
      store(header_of(a.headers, a.shape, first + i), {a.me, uint32_t(first + i), 0, a.shape.top_k});
  }
}

}  // namespace transload
