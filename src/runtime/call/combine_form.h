// What a combine is, whoever runs its warps: all that its inputs, their handle and the state of its rank say about it.
#pragma once
#include <cstdint>

#include "protocol/combine/trip.h"
#include "runtime/call/granted_memory.h"
#include "runtime/call/handle.h"
#include "runtime/rank_state.h"

namespace transload {

struct CombineForm {
  // `in` must have passed check_combine().
  CombineForm(const RankState& rank, const CombineInputs& in);

  uint32_t channels;
  uint32_t weights;  // weights of each row that are summed too; 0: none
  uint64_t tokens;
  uint64_t rows_max;  // rows from this one on were dropped
  Card card;          // complete but for the epoch and the handle's name
};

// Whether peers pull the rows; `out` and decisions() say so too.
bool choose_source(RankState& rank, const CombineInputs& in, CombineOutputs& out);

// An executor keeps here what else the roles of a combine know.
struct CombineTables {
  Positions up_positions, rail_positions;
  HandleView handle;
  Spans forward, rows_of;
};

// Makes the trip; the caller fills in `call`.
CombineTrip trip_of(const CombineForm& form, const CombineInputs& in, const CombineTables& tables,
                    const CombineOutputs& out);

// What peers may read, if they pull.
GrantOffer offer_of(const Board& board, bool pull, const CombineInputs& in, Word rows_max);

}  // namespace transload
