// Dispatch: tokens to the ranks that own their experts.
//
// Letters: T my tokens, K choices a token, H elements of a row, S scales a row, M rows I receive, R ranks.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "transload/lease.h"
#include "transload/status.h"
#include "transload/tensor.h"

namespace transload {

// A device queue that a call is ordered on. On the CPU there is none: a call is done when it returns.
struct Stream {
  void* handle = nullptr;
};

enum class Landing : uint8_t {
  kAuto,    // direct while a lease can be had, else ring
  kDirect,  // rows are stored straight into a lease of mine
  kRing,    // rows pass a bounded ring of mine
};
enum class Overflow : uint8_t { kFail, kDrop };

// What a dispatch leaves for combine and for cached dispatches: rows, logs and counts of one routing. Immutable,
// shared, reusable; outlives later dispatches and may be used with any channels. Valid only with the group that made
// it.
struct HandleData;
using Handle = std::shared_ptr<const HandleData>;

struct DispatchInputs {
  Tensor x;             // [T, H] any dtype, contiguous; row bytes a multiple of 16. Mine; not read after the call
  Tensor scales;        // [T, S] 4-byte scalars, any strides; optional
  Tensor topk_idx;      // [T, K] int32 or int64: global expert ids, -1 for no choice. Not with a handle
  Tensor topk_weights;  // [T, K] float32. Not with a handle
  Handle handle;        // cached: the routing of an earlier dispatch; no counts travel
  uint32_t expert_alignment = 1;  // per-expert counts are rounded up to a multiple of it
  int64_t rows_max = 0;           // > 0: most rows of the output, no host wait (not supported on the CPU yet)
  Overflow overflow = Overflow::kFail;
  Landing landing = Landing::kAuto;  // of what I receive
  Tensor out_x;  // [>= M, H] contiguous memory of mine for the rows (landing ring unless it lies in a lease); optional
  uint32_t channels = 0;  // 0: the group's
  Stream stream;
};

struct DispatchOutputs {
  int64_t rows = 0;     // M: one for each (token, me) with an expert of mine, by (source rank, source token)
  Tensor x;             // [M, H] as the input's dtype
  Tensor scales;        // [M, S] contiguous, if given
  Tensor topk_idx;      // [M, K] int32: local expert id, -1 where the choice is another rank's. Not with a handle
  Tensor topk_weights;  // [M, K] float32, 0 where topk_idx is -1. Not with a handle
  Tensor source;        // [M, 2] int32: source rank, source token. Not with a handle
  std::vector<int64_t> expert_counts;  // rows of each local expert, rounded up to expert_alignment. Not with a handle
  Handle handle;
  Landing landing = Landing::kAuto;  // what was chosen
  int64_t scale_out_rows = 0;        // copies of my tokens that crossed to other nodes
  Status status;                     // ok, or kBadExpertId naming token and slot
  Lease lease;                       // the tensors above live here
};

}  // namespace transload
