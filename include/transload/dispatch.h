// Dispatch: sends tokens to the ranks that own their experts.
//
// Shapes use these letters: T tokens of this rank, K choices of a token, H elements of a row, S scales of a row, M rows
// that this rank receives, R ranks.
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

// The stream of a device that a call is ordered on. On the CPU there is none: a call is done when it returns.
struct Stream {
  void* handle = nullptr;
};

// Where the rows of a dispatch end.
enum class Landing : uint8_t {
  kAuto,    // kDirect if the outputs get a lease, else kRing
  kDirect,  // peers store rows straight into a lease of this rank, or the call fails. It is refused if out_x lies in no
            // lease. It fails, once others have their rows, with kOutOfMemory if the slabs have no room, and with
            // kInvalidArgument if `room` gave memory outside of leases
  kRing,    // rows pass a bounded ring of this rank
};
// What happens if more rows come than rows_max. Either way the other ranks' calls complete, nothing is written past the
// memory, and the group is still usable.
enum class Overflow : uint8_t {
  // The dispatch throws Error{kTooManyRows}, whose message has the rows needed and the rows given; there is no handle
  // then. On a GPU, where the call has returned by then, the next Group::wait throws it, and outputs and handle are
  // those of kDrop.
  kFail,
  kDrop,  // the last rows, in the order of the output, are dropped; the status says so
};

// Names a tensor that a call returns: a dispatch returns x, scales, topk_idx, topk_weights and source, a combine x and
// topk_weights.
enum class Output : uint8_t { kX, kScales, kTopkIdx, kTopkWeights, kSource };

// A function that gives a call the memory of an output: `bytes` bytes that nobody else uses, aligned to 16, on the
// group's device. The caller owns the memory and keeps it as long as the tensor is used. The call asks once for each
// output that it returns and that has no out_ tensor, one after another, on the calling thread, once the number of rows
// is known and before anything is written. It asks for 0 bytes too; null is a valid answer to that. Memory in a lease
// of the group is recognised by its address, and peers reach it directly.
//
// If the function throws, or gives invalid memory, this rank takes part without keeping a row. Then the call throws
// what the function threw, or Error{kInvalidArgument}; the group is still usable, and memory that was given is not
// written. On a GPU the function must not wait for the device: kernels of other ranks may wait there for this call.
using RoomFor = std::function<void*(Output which, uint64_t bytes)>;

// What a dispatch leaves for combines and cached dispatches: rows, logs and counts of one routing. A handle is
// immutable, shared and reusable. It stays valid after later dispatches and may be used with any number of channels,
// but only with the group that made it.
struct HandleData;
using Handle = std::shared_ptr<const HandleData>;

// What a rank gives to a dispatch. On a GPU a call returns before it is done. The caller keeps its tensors, and what
// its `room` gave, until the stream has finished the call; it keeps those of a captured call as long as the graph is
// replayed. The graph itself keeps handle, lease and the group's memory, until the graph, what was instantiated from
// it, and all launches are gone.
struct DispatchInputs {
  Tensor x;                       // [T, H] any dtype, contiguous; row bytes a multiple of 16. Not read after the call
  Tensor scales;                  // [T, S] 4-byte scalars, any strides; optional
  Tensor topk_idx;                // [T, K] int32 or int64: global expert ids, -1 for no choice. Not with a handle
  Tensor topk_weights;            // [T, K] float32. Not with a handle
  Handle handle;                  // makes a cached dispatch, with the routing of an earlier one; no counts travel
  uint32_t expert_alignment = 1;  // expert_counts are rounded up to multiples of this
  // If it is > 0, the outputs have room for this many rows, whatever comes, so no count is needed to make them. It may
  // differ between ranks. The handle keeps the number: its cached dispatches and combines drop the same rows. If it is
  // 0, the outputs have room for the rows that come; on a GPU the host then waits for that count.
  int64_t rows_max = 0;
  Overflow overflow = Overflow::kFail;  // not with a handle
  DLDataType idx_type = kI32;           // type of the ids in the outputs: int32 or int64, whatever topk_idx is
  Landing landing = Landing::kAuto;     // landing of the rows that this rank receives
  Tensor out_x;  // [>= M, H] contiguous: the caller's memory for the rows (kRing unless it lies in a lease); optional
  // Gives the caller's memory for all outputs; the landing is kRing unless x and scales lie in leases. If it is null,
  // all outputs lie in one lease.
  RoomFor room;
  uint32_t channels = 0;     // 0: the group's
  uint32_t deadline_ms = 0;  // deadline of each wait in this call; 0: the group's
  Stream stream;
  // An error of kInvalidArgument or kNotSupported that the caller itself found in its input: the call throws it, and
  // all ranks hear of it, as they do when the library refuses an input. Nothing else of the inputs is read.
  std::optional<Error> refused;
};

// What a dispatch returns. On a GPU with rows_max the host does not wait for counts: then rows and rows_needed are
// rows_max, expert_counts and source_rows are empty, scale_out_rows is 0 and the status is ok, whatever comes.
// Group::report says later what came.
struct DispatchOutputs {
  // The number of rows: one for each token that chose an expert of this rank, ordered by (source rank, source token);
  // at most rows_max. M is `rows` or, if given, rows_max: past `rows` the tensors hold nothing, except that topk_idx is
  // -1 and topk_weights is 0 there.
  int64_t rows = 0;
  int64_t rows_needed = 0;  // rows that came, dropped ones included
  Tensor x;                 // [M, H] of the input's dtype
  Tensor scales;            // [M, S] contiguous, if given
  Tensor topk_idx;          // [M, K] idx_type: local expert id, -1 if another rank has the expert. Not with a handle
  Tensor topk_weights;      // [M, K] float32, 0 where topk_idx is -1. Not with a handle
  Tensor source;            // [M, 2] int32: source rank, source token. Not with a handle
  // For each local expert, the choices of it among the rows of x, without dropped rows. A row that chose two experts of
  // this rank, or one of them twice, counts twice. Each count is rounded up to expert_alignment. Not with a handle.
  std::vector<int64_t> expert_counts;
  // [R] Element r is the number of rows of x that ranks 0 to r sent, without dropped rows, so the last element is
  // `rows`.
  std::vector<int64_t> source_rows;
  // The counts on the group's device, for later kernels: valid once x is, and as long as the handle lives.
  Tensor rows_on_device;             // [1] int64: rows_needed
  Tensor expert_counts_on_device;    // [local experts] int64. Not with a handle
  Tensor rows_of_sources_on_device;  // [R] int64: source_rows
  Handle handle;
  Landing landing = Landing::kAuto;  // the landing that was chosen
  int64_t scale_out_rows = 0;        // copies of this rank's tokens that crossed to other nodes
  Status status;  // kBadExpertId (names token and slot) if an id was out of range, else kTooManyRows if rows were
                  // dropped, else kOk
  Lease lease;    // holds the tensors above, except those in the caller's memory
};

// What the dispatch that made a handle found out; if it was captured, what its last replay found out.
struct DispatchReport {
  uint64_t call = 0;  // number of the call in the group, from 1; each replay is a call. 0: none has run yet
  int64_t rows = 0;   // this and the next fields mean what they mean in DispatchOutputs
  int64_t rows_needed = 0;
  std::vector<int64_t> expert_counts;
  std::vector<int64_t> source_rows;
  int64_t scale_out_rows = 0;
  Status status;  // kTooManyRows also if the call fails for that reason
};

// How many of a rank's tokens a dispatch would send where.
struct CountOutputs {
  Tensor rank_counts;    // [R] int32: tokens that chose an expert of the rank; each counts once
  Tensor node_counts;    // [nodes] int32: tokens that chose an expert of the node; each counts once
  Tensor expert_counts;  // [experts] int32: choices, so a token that chose one expert twice counts twice
  Tensor token_in_rank;  // [T, R] bool
  Status status;         // ok, or kBadExpertId naming token and slot; such an id counts as -1
  Lease lease;           // holds the tensors above
};

}  // namespace transload
