// Moves and sums by plain loads and stores: small records, and what the copy engine cannot take.
#pragma once
#include <cuda_bf16.h>

#include "base/scalar.h"
#include "executor/cuda/reduce.cuh"
#include "protocol/warp.h"

namespace transload {

// This lane's piece of a copy.
struct LanePiece {
  char* to;
  const char* from;
  uint32_t bytes;  // a multiple of 4
};

// The whole warp copies the pieces of the first kMembers lanes in `bits`: all loads of kChunks x 512 bytes of each come
// before the first store.
template <int kMembers, int kChunks>
TRANSLOAD_DEVICE void copy_first(uint32_t bits, const LanePiece& mine) {
  LanePiece piece[kMembers];
  uint32_t whole[kMembers], longest = 0;
#pragma unroll
  for (int j = 0; j < kMembers; ++j) {
    const int lane = bits == 0 ? 0 : __ffs(int(bits)) - 1;
    const auto to = __shfl_sync(kAllLanes, (unsigned long long)mine.to, lane);
    const auto from = __shfl_sync(kAllLanes, (unsigned long long)mine.from, lane);
    const uint32_t bytes = bits == 0 ? 0 : __shfl_sync(kAllLanes, mine.bytes, lane);
    piece[j] = {reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), bytes};
    whole[j] = ((to | from) & 15) == 0 ? bytes / 16 * 16 : 0;
    longest = whole[j] > longest ? whole[j] : longest;
    bits &= bits - 1;
  }
  const uint32_t my_unit = uint32_t(lane_of_thread()) * 16;
  for (uint32_t first = 0; first < longest; first += 512 * kChunks) {
    uint4 values[kMembers][kChunks];
#pragma unroll
    for (int j = 0; j < kMembers; ++j)
#pragma unroll
      for (int k = 0; k < kChunks; ++k)
        if (first + 512 * k + my_unit < whole[j])
          values[j][k] = ptx::load128(piece[j].from + first + 512 * k + my_unit);
#pragma unroll
    for (int j = 0; j < kMembers; ++j)
#pragma unroll
      for (int k = 0; k < kChunks; ++k)
        if (first + 512 * k + my_unit < whole[j])
          *reinterpret_cast<uint4*>(piece[j].to + first + 512 * k + my_unit) = values[j][k];
  }
#pragma unroll
  for (int j = 0; j < kMembers; ++j)
    for (uint32_t i = whole[j] + uint32_t(lane_of_thread()) * 4; i < piece[j].bytes; i += 128)
      *reinterpret_cast<uint32_t*>(piece[j].to + i) = ptx::load32(piece[j].from + i);
}

// `bits`: the lanes that have a piece. Four lanes' pieces are copied at once, so that their loads overlap.
TRANSLOAD_DEVICE void copy_pieces(uint32_t bits, LanePiece mine) {
  for (; (bits & (bits - 1)) != 0; bits &= bits - 1) {
    copy_first<4, 2>(bits, mine);
    bits &= bits - 1;
    bits &= bits - 1;
    bits &= bits - 1;
  }
  if (bits != 0) copy_first<1, 4>(bits, mine);
  __syncwarp();
}

TRANSLOAD_DEVICE float load_scalar(const char* at, uint64_t i, Scalar type) {
  static_assert(kTwoScalars);
  if (type == Scalar::kF32) return __uint_as_float(ptx::load32(at + i * 4));
  return __uint_as_float(uint32_t(ptx::load16(at + i * 2)) << 16);
}

// Does any sum, an element a lane. `from` is my lane's row.
TRANSLOAD_DEVICE void sum_plainly(char* into, const SumShape& shape, const Sum& sum, const char* from) {
  static_assert(kTwoScalars);
  const bool biased = shape.bias[0] != nullptr || shape.bias[1] != nullptr;
  for (uint64_t base = 0; base < shape.elements; base += 32) {
    const uint64_t i = base + uint64_t(lane_of_thread());
    const bool in = i < shape.elements;
    float total = biased ? -0.0f : 0.0f, node = 0.0f;
    for (const char* bias : shape.bias)
      if (bias != nullptr && in) total += load_scalar(bias, i, shape.row);
    auto add = [&](Set set, float& to, Scalar type) {
      for_turns(set, [&](int l) {
        const auto row = __shfl_sync(kAllLanes, (unsigned long long)from, l);
        if (in) to += load_scalar(reinterpret_cast<const char*>(row), i, type);
      });
    };
    add(sum.before, total, shape.partial);
    add(sum.here, node, shape.row);
    if (!sum.here.empty()) total += node;
    add(sum.after, total, shape.partial);
    if (!in) continue;
    if (shape.out == Scalar::kF32)
      reinterpret_cast<float*>(into)[i] = canonical(total);
    else
      reinterpret_cast<__nv_bfloat16*>(into)[i] = __float2bfloat16_rn(total);
  }
  __syncwarp();
}

}  // namespace transload
