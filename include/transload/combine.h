// Combine: the experts' rows back to the ranks that their tokens came from, summed.
//
// The sum of a token, to the bit: for each node n in ascending order S_n = ((+0 + row) + row) + ... over the owners of
// that node in ascending rank, in fp32; the partial sum of another node is rounded to the wire type; the result is
// (B + S_0) + S_1 + ... rounded once, where B is +0, bias0, or bias0 + bias1. Round to nearest even; NaN is stored as
// the canonical quiet NaN. It depends on how ranks are cut into nodes, because fp32 addition is not associative.
//
// A row that its dispatch dropped (rows_max) is left out. If all rows of another node were dropped, its partial sum is
// +0; if all of the own node were, that partial sum is left out.
#pragma once
#include "transload/dispatch.h"

namespace transload {

// How the rows of a combine come to whoever sums them.
enum class CombineSource : uint8_t {
  kAuto,  // pull if x lies in a lease, else push
  kPull,  // peers read my rows where they lie
  kPush,  // my rows pass bounded rings
};
// The type in which partial sums cross between nodes.
enum class CombineWire : uint8_t { kBf16, kF32 };

// What a rank gives to a combine.
struct CombineInputs {
  Tensor x;  // [M, H] bf16, contiguous: as many rows as the dispatch's x, same order; past its `rows` not read
  Handle handle;
  Tensor topk_weights;  // [M, K] float32, contiguous; optional: summed too, without biases
  Tensor bias[2];       // [T, H] bf16, contiguous; optional, the first before the second
  CombineSource source = CombineSource::kAuto;
  CombineWire wire = CombineWire::kBf16;  // kF32 only if it is the group's combine_wire
  Tensor out_x;                           // [T, H] bf16 contiguous memory of mine for the result; optional
  // [T, K] float32, contiguous memory of mine for their sums; optional, not without topk_weights
  Tensor out_topk_weights;
  RoomFor room;              // memory of mine for all outputs; null: they lie in one lease
  uint32_t channels = 0;     // 0: the group's
  uint32_t deadline_ms = 0;  // of this call's waits; 0: the group's
  Stream stream;
};

// What a combine returns.
struct CombineOutputs {
  Tensor x;                                     // [T, H] bf16
  Tensor topk_weights;                          // [T, K] float32, if given
  CombineSource source = CombineSource::kAuto;  // what was chosen
  int64_t scale_out_rows = 0;                   // partial sums received from other nodes; see DispatchOutputs for GPUs
  Lease lease;                                  // the tensors above live here, if not in memory of the caller's
};

}  // namespace transload
