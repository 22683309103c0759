// What a caller may pass. Every refusal names the argument, the value and the bound, and happens before anything moves.
#pragma once
#include "layout/plan.h"
#include "runtime/handle.h"
#include "runtime/rank_state.h"
#include "transload/group.h"

namespace transload {

// Throw Error.
void check_options(const GroupOptions& options);
void check_dispatch(const RankState& group, const DispatchInputs& in);
void check_combine(const RankState& group, const CombineInputs& in);

// Throws Error if it is none, or of another group.
void check_handle(const RankState& group, const Handle& handle);

// Peers can read all that a combine returns where it lies.
bool can_be_pulled(const RankState& group, const CombineInputs& in);

// What a dispatch says that took an expert id out of range for -1, and one to which more rows came than rows_max.
Status bad_expert(const BadExpert& bad, uint32_t experts);
Status too_many_rows(uint64_t needed, uint64_t rows_max, Overflow overflow);

}  // namespace transload
