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

// Where the rows of a dispatch end.
enum class Landing : uint8_t {
  kAuto,    // direct while a lease can be had, else ring
  kDirect,  // rows are stored straight into a lease of mine, or the call fails: refused if out_x lies in none, else
            // Error{kOutOfMemory} once the others have what is theirs
  kRing,    // rows pass a bounded ring of mine
};
// What happens where more rows come than rows_max. Either way the trip is completed, nothing is written past the room,
// and the group is still usable.
enum class Overflow : uint8_t {
  // The dispatch throws Error{kTooManyRows}, which tells needed and given; there is no handle then. On a GPU, where it
  // has returned by then, the next Group::wait throws it, and outputs and handle are those of kDrop.
  kFail,
  kDrop,  // the last rows, in the order of the output, are dropped; the status tells
};

// What a dispatch leaves for combine and for cached dispatches: rows, logs and counts of one routing. Immutable,
// shared, reusable; outlives later dispatches and may be used with any channels. Valid only with the group that made
// it.
struct HandleData;
using Handle = std::shared_ptr<const HandleData>;

// On a GPU a call returns before it is done. The caller keeps its tensors until the stream has finished the call; those
// of a captured call it keeps as long as the graph is replayed. The graph itself keeps handle, outputs and the group's
// memory, until it, what was instantiated from it, and all launches are gone.
struct DispatchInputs {
  Tensor x;             // [T, H] any dtype, contiguous; row bytes a multiple of 16. Mine; not read after the call
  Tensor scales;        // [T, S] 4-byte scalars, any strides; optional
  Tensor topk_idx;      // [T, K] int32 or int64: global expert ids, -1 for no choice. Not with a handle
  Tensor topk_weights;  // [T, K] float32. Not with a handle
  Handle handle;        // cached: the routing of an earlier dispatch; no counts travel
  uint32_t expert_alignment = 1;  // per-expert counts are rounded up to a multiple of it
  // > 0: the outputs have room for so many rows, whatever comes, so no count is needed to make them. Ranks may differ.
  // The handle keeps the number: its cached dispatches and combines drop the same rows. 0: as many rows as come; on a
  // GPU the host then waits for that count.
  int64_t rows_max = 0;
  Overflow overflow = Overflow::kFail;  // not with a handle
  Landing landing = Landing::kAuto;     // of what I receive
  Tensor out_x;  // [>= M, H] contiguous memory of mine for the rows (landing ring unless it lies in a lease); optional
  uint32_t channels = 0;     // 0: the group's
  uint32_t deadline_ms = 0;  // of this call's waits; 0: the group's
  Stream stream;
};

// On a GPU with rows_max the host does not wait for counts: then rows and rows_needed are rows_max, expert_counts is
// empty, scale_out_rows is 0 and the status is ok, whatever comes. Group::report tells later what came.
struct DispatchOutputs {
  // One for each (token, me) with an expert of mine, by (source rank, source token); at most rows_max. M is this or, if
  // given, rows_max: past `rows` the tensors hold nothing, but for topk_idx, -1 there, and topk_weights, 0.
  int64_t rows = 0;
  int64_t rows_needed = 0;  // rows that came, dropped ones included
  Tensor x;                 // [M, H] as the input's dtype
  Tensor scales;            // [M, S] contiguous, if given
  Tensor topk_idx;          // [M, K] int32: local expert id, -1 where the choice is another rank's. Not with a handle
  Tensor topk_weights;      // [M, K] float32, 0 where topk_idx is -1. Not with a handle
  Tensor source;            // [M, 2] int32: source rank, source token. Not with a handle
  // Choices of each local expert among the rows of x, so of dropped rows none: a row that chose two experts of mine, or
  // one of them twice, counts twice. Rounded up to expert_alignment. Not with a handle.
  std::vector<int64_t> expert_counts;
  // The same on the group's device, for later kernels: valid once x is, and as long as the handle lives.
  Tensor rows_on_device;           // [1] int64: rows_needed
  Tensor expert_counts_on_device;  // [local experts] int64. Not with a handle
  Handle handle;
  Landing landing = Landing::kAuto;  // what was chosen
  int64_t scale_out_rows = 0;        // copies of my tokens that crossed to other nodes
  Status status;                     // ok; kBadExpertId naming token and slot; else kTooManyRows
  Lease lease;                       // the tensors above live here
};

// What the dispatch that made a handle found out; of a captured one, its last replay.
struct DispatchReport {
  uint64_t call = 0;  // its number among the calls of the group: from 1, each replay the next. 0: none has run yet
  int64_t rows = 0;   // this and what follows: as in DispatchOutputs
  int64_t rows_needed = 0;
  std::vector<int64_t> expert_counts;
  int64_t scale_out_rows = 0;
  Status status;  // kTooManyRows of a call that fails for them, too
};

}  // namespace transload
