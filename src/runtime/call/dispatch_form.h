// What a dispatch is, whoever runs its warps: all that its inputs and the state of its rank say about it.
#pragma once
#include <cstdint>
#include <memory>

#include "layout/handle.h"
#include "layout/plan.h"
#include "layout/token.h"
#include "protocol/dispatch/trip.h"
#include "runtime/call/granted_memory.h"
#include "runtime/call/handle.h"
#include "runtime/rank_state.h"

namespace transload {

// Scales as they are sent: those of a token follow each other.
struct ScaleRows {
  const char* at;  // scales of token 0
  int64_t stride;  // bytes from the scales of one token to those of the next
};

// What ids and weights say; weights may be absent where only ids are read.
Routing routing_of(const Tensor& topk_idx, const Tensor& topk_weights);

// Where the rows of a dispatch land.
struct LandingPlace {
  bool direct;        // peers store the rows; false: this rank does
  char* rows;         // [rows][row_bytes]
  char* row_headers;  // [rows][header_bytes]
};

struct DispatchForm {
  // `in` must have passed check_dispatch().
  DispatchForm(const RankState& rank, const DispatchInputs& in);

  bool first;  // the call makes a handle; false: it was given one
  TokenShape shape;
  uint32_t channels;
  uint64_t tokens;
  uint64_t rows_max;  // rows from this one on are dropped
  const char* x;      // [tokens][row_bytes]
  Routing routing;    // ids and weights of a first dispatch
  ScaleSource scales;
  Card card;  // complete but for the epoch and the handle's name

  // Scales that do not follow each other are sent from a copy in which they do.
  bool stages_scales() const { return shape.scales > 1 && scales.scale_stride != 1; }
  // `staged`: [tokens][scale_room] memory for the copy of the scales.
  ScaleRows scale_rows(const char* staged) const;
  void stage_scales(char* staged) const;  // makes the copy on the host

  // Makes the handle of a first dispatch, but for what only its counts say.
  std::shared_ptr<HandleData> new_handle(const RankState& rank) const;

  // Makes the form drop every row. A call that fails needs this, because it takes part: others wait for it.
  LandingPlace keep_no_row(const Board& board);
};

// An executor keeps here what else the roles of a dispatch know.
struct DispatchTables {
  Positions up_positions, rail_positions;
  Placement experts;
  HandleView handle;
  HandleTables made;  // tables that a first dispatch fills
  uint32_t log_width;
  Spans forward, arriving;
  uint64_t log_entries;
  ScaleRows scales;
  const char* headers;  // [tokens][header_bytes]
};

// Makes the trip; the caller fills in `call`. `out`: its tensors are the columns of rows.
DispatchTrip trip_of(const DispatchForm& form, const DispatchTables& tables, const LandingPlace& landing,
                     const DispatchOutputs& out);

// What peers may touch, if the landing is direct.
GrantOffer offer_of(const Board& board, const LandingPlace& landing, const DispatchOutputs& out, Word rows_max);

}  // namespace transload
