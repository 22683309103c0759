// Copies past the cache and sums of rows, compiled for several instruction sets and chosen once for this CPU.
//
// Plain data only: this header is compiled with the flags of every target, and an inline function of it that the linker
// took from the wrong one would use instructions that this CPU may lack.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/scalar.h"

namespace transload::simd {

struct Rows {
  const char* const* at;
  int count;
};

// protocol/warp.h's Sum and SumShape, resolved: ((bias + before...) + (here...)) + after..., rounded once.
struct SumJob {
  char* into;
  size_t elements;
  Rows before, here, after;
  const char* bias[2];  // null: the sum starts from +0
  Scalar row;           // type of `here` and bias
  Scalar partial;       // type of `before` and `after`
  Scalar out;
  bool streamed;  // stores go past the cache, and nothing orders them before stream_fence()
};

struct Kernels {
  const char* name;
  // stream_copy takes any sizes and addresses; whole cache lines go past the cache. Nobody may count on its stores
  // before stream_fence().
  void (*stream_copy)(char* to, const char* from, size_t bytes);
  void (*sum_rows)(const SumJob& job);
};

// The best kernels for this CPU; the plainest ones under a thread sanitizer, which does not see wider accesses.
const Kernels& kernels();

// Everything that this build has and this CPU can run, plainest first, into `list` (room for 3). Returns how many.
int kernels_here(const Kernels** list);

// Stores that were streamed before this call are seen before any store after it.
void stream_fence();

}  // namespace transload::simd
