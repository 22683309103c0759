// SPANS: which entries of a handle's log, and which of its rows, belong to which channel, for any number of channels.
// On a host forward_spans() and row_spans() (layout/handle.h) do this. Each thread computes where one channel begins.
#pragma once
#include <cstdint>

#include "kernels/tables/table_kernels.h"
#include "layout/channels.h"

namespace transload {

// The number of the first token of `run` that belongs to this channel or a later one.
__device__ inline uint64_t channel_begin(const TokenRun& run, uint32_t channels, uint32_t channel) {
  const uint64_t token = Cut{run.source_tokens, channels}.begin(channel);
  uint64_t low = 0, high = run.count;
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    if (run.tokens[middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return run.first + low;
}

__device__ inline void write_spans(const SpanArgs& a) {
  const HandleView& h = a.handle;
  const uint32_t begins = a.channels + 1;
  const uint64_t forward = uint64_t(a.sources) * begins, all = forward + uint64_t(a.ranks) * begins;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < all; i += uint64_t(gridDim.x) * blockDim.x) {
    const bool logged = i < forward;
    const uint64_t at = logged ? i : i - forward;
    const uint32_t member = uint32_t(at / begins), channel = uint32_t(at % begins);
    const uint64_t* begin = (logged ? h.log_begin : h.row_base) + member;
    const Word most = logged ? ~Word(0) : a.rows_max;
    const uint64_t first = begin[0] < most ? begin[0] : most, end = begin[1] < most ? begin[1] : most;
    const TokenRun run{first, (logged ? h.log_token : h.row_token) + first, end - first,
                       (logged ? h.slot_tokens : h.source_tokens)[member]};
    (logged ? a.forward : a.arriving)[at] = channel_begin(run, a.channels, channel);
  }
}

}  // namespace transload
