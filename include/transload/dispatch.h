// Dispatch: tokens to the ranks that own their experts.
//
// Letters: T my tokens, K choices a token, H elements of a row, S scales a row, M rows I receive, R ranks.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
  kDirect,  // rows are stored straight into a lease of mine, or the call fails: refused if out_x lies in none, else,
            // once the others have what is theirs, Error{kOutOfMemory}, or kInvalidArgument of what `room` gave
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

// A tensor that a call returns: of a dispatch x, scales, topk_idx, topk_weights or source, of a combine x or
// topk_weights.
enum class Output : uint8_t { kX, kScales, kTopkIdx, kTopkWeights, kSource };

// Gives a call the memory of an output: `bytes` bytes that nobody else uses, aligned to 16, where the group's tensors
// are. The caller owns it, as long as the tensor is used. Asked once for each output that the call returns and that no
// out_ tensor is given for, one after another, on the calling thread, once the number of rows is known and before
// anything is written; also for 0 bytes, for which null will do. What lies in a lease of the group is reached by peers
// as a lease is, by its address.
//
// If it throws, or gives what it must not, this rank takes part without keeping a row. Then the call throws what was
// thrown, or Error{kInvalidArgument}; the group is still usable. What it had given is not written. On a GPU it must not
// wait for the device: kernels of other ranks may wait there for this call.
using RoomFor = std::function<void*(Output which, uint64_t bytes)>;

// What a dispatch leaves for combine and for cached dispatches: rows, logs and counts of one routing. Immutable,
// shared, reusable; outlives later dispatches and may be used with any channels. Valid only with the group that made
// it.
struct HandleData;
using Handle = std::shared_ptr<const HandleData>;

// On a GPU a call returns before it is done. The caller keeps its tensors, and what its `room` gave, until the stream
// has finished the call; those of a captured call it keeps as long as the graph is replayed. The graph itself keeps
// handle, lease and the group's memory, until it, what was instantiated from it, and all launches are gone.
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
  DLDataType idx_type = kI32;           // of the ids in the outputs: int32 or int64, whatever those above are
  Landing landing = Landing::kAuto;     // of what I receive
  Tensor out_x;  // [>= M, H] contiguous memory of mine for the rows (landing ring unless it lies in a lease); optional
  // Memory of mine for all outputs; landing ring unless x and scales lie in leases. Null: they lie in one lease.
  RoomFor room;
  uint32_t channels = 0;     // 0: the group's
  uint32_t deadline_ms = 0;  // of this call's waits; 0: the group's
  Stream stream;
  // What the caller itself finds wrong with what it was to give, kInvalidArgument or kNotSupported: the call throws it,
  // and all ranks hear of it, as of what the library refuses. Nothing else is looked at.
  std::optional<Error> refused;
};

// On a GPU with rows_max the host does not wait for counts: then rows and rows_needed are rows_max, expert_counts and
// source_rows are empty, scale_out_rows is 0 and the status is ok, whatever comes. Group::report tells later what came.
struct DispatchOutputs {
  // One for each (token, me) with an expert of mine, by (source rank, source token); at most rows_max. M is this or, if
  // given, rows_max: past `rows` the tensors hold nothing, but for topk_idx, -1 there, and topk_weights, 0.
  int64_t rows = 0;
  int64_t rows_needed = 0;  // rows that came, dropped ones included
  Tensor x;                 // [M, H] as the input's dtype
  Tensor scales;            // [M, S] contiguous, if given
  Tensor topk_idx;          // [M, K] idx_type: local expert id, -1 where the choice is another's. Not with a handle
  Tensor topk_weights;      // [M, K] float32, 0 where topk_idx is -1. Not with a handle
  Tensor source;            // [M, 2] int32: source rank, source token. Not with a handle
  // Choices of each local expert among the rows of x, so of dropped rows none: a row that chose two experts of mine, or
  // one of them twice, counts twice. Rounded up to expert_alignment. Not with a handle.
  std::vector<int64_t> expert_counts;
  // [R] Rows of x that ranks 0 to r sent, at place r, so the last is the rows of x; of dropped rows none.
  std::vector<int64_t> source_rows;
  // The counts of rows on the group's device, for later kernels: valid once x is, and as long as the handle lives.
  Tensor rows_on_device;             // [1] int64: rows_needed
  Tensor expert_counts_on_device;    // [local experts] int64. Not with a handle
  Tensor rows_of_sources_on_device;  // [R] int64: source_rows
  Handle handle;
  Landing landing = Landing::kAuto;  // what was chosen
  int64_t scale_out_rows = 0;        // copies of my tokens that crossed to other nodes
  Status status;                     // ok; kBadExpertId naming token and slot; else kTooManyRows
  Lease lease;                       // the tensors above live here, but for those in memory of the caller's
};

// What the dispatch that made a handle found out; of a captured one, its last replay.
struct DispatchReport {
  uint64_t call = 0;  // its number among the calls of the group: from 1, each replay the next. 0: none has run yet
  int64_t rows = 0;   // this and what follows: as in DispatchOutputs
  int64_t rows_needed = 0;
  std::vector<int64_t> expert_counts;
  std::vector<int64_t> source_rows;
  int64_t scale_out_rows = 0;
  Status status;  // kTooManyRows of a call that fails for them, too
};

// How many of a rank's tokens a dispatch would send where.
struct CountOutputs {
  Tensor rank_counts;    // [R] int32: tokens that chose an expert of the rank; each counts once
  Tensor node_counts;    // [nodes] int32, likewise
  Tensor expert_counts;  // [experts] int32: choices, so a token that chose one expert twice counts twice
  Tensor token_in_rank;  // [T, R] bool
  Status status;         // ok, or kBadExpertId naming token and slot; such an id counts as -1
  Lease lease;           // the tensors above live here
};

}  // namespace transload
