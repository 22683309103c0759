// Combine: brings the experts' rows back to the ranks that their tokens came from, and sums them.
//
// The sum of a token is defined to the bit. For each node n, S_n = ((+0 + row) + row) + ... over the owners of that
// node in ascending rank, in fp32. The partial sum of another node is rounded to the wire type. The result is (B + S_0)
// + S_1 + ... over the nodes that have an owner, in ascending order, rounded once, where B is +0, bias0, or bias0 +
// bias1. Rounding is to nearest even; NaN is stored as the canonical quiet NaN. The sum depends on how ranks are cut
// into nodes, because fp32 addition is not associative.
//
// A row that its dispatch dropped (rows_max) is left out. If all rows of another node were dropped, its partial sum is
// +0; if all rows of the token's own node were dropped, that partial sum is left out.
#pragma once
#include "transload/dispatch.h"

namespace transload {

// How the rows of a combine come to the ranks that sum them.
enum class CombineSource : uint8_t {
  kAuto,  // kPull if x lies in a lease, else kPush
  kPull,  // peers read my rows where they lie
  kPush,  // my rows pass bounded rings
};
// The type in which partial sums cross between nodes.
enum class CombineWire : uint8_t { kBf16, kF32 };

// What a rank gives to a combine.
struct CombineInputs {
  Tensor x;  // [M, H] bf16, contiguous: the rows of the dispatch's x, in order; those past its `rows` are not read
  Handle handle;
  Tensor topk_weights;  // [M, K] float32, contiguous; optional: they are summed too, without biases
  Tensor bias[2];       // [T, H] bf16, contiguous; optional, and bias[1] only with bias[0]
  CombineSource source = CombineSource::kAuto;
  CombineWire wire = CombineWire::kBf16;  // kF32 only if it is the group's combine_wire
  Tensor out_x;                           // the caller's memory for the result, [T, H] bf16, contiguous; optional
  // [T, K] float32, contiguous: the caller's memory for the sums of topk_weights; optional, only with topk_weights
  Tensor out_topk_weights;
  RoomFor room;              // gives the caller's memory for all outputs; null: they lie in one lease
  uint32_t channels = 0;     // 0: the group's
  uint32_t deadline_ms = 0;  // deadline of each wait in this call; 0: the group's
  Stream stream;
};

// What a combine returns.
struct CombineOutputs {
  Tensor x;                                     // [T, H] bf16
  Tensor topk_weights;                          // [T, K] float32, if given
  CombineSource source = CombineSource::kAuto;  // the source that was chosen
  int64_t scale_out_rows = 0;                   // partial sums received from other nodes; see DispatchOutputs for GPUs
  Lease lease;                                  // holds the tensors above, except those in the caller's memory
};

}  // namespace transload
