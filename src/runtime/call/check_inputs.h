// What a caller may pass. Every refusal names the argument, the value and the bound, and happens before anything moves.
#pragma once
#include <string>
#include <vector>

#include "layout/plan.h"
#include "runtime/call/handle.h"
#include "runtime/rank_state.h"
#include "transload/group.h"

namespace transload {

// Throws Error that names `argument`.
void check_node_sizes(const std::string& argument, const std::vector<uint32_t>& sizes);
// These throw Error.
void check_options(const GroupOptions& options);
void check_dispatch(const RankState& group, const DispatchInputs& in);
void check_combine(const RankState& group, const CombineInputs& in);
void check_count(const RankState& group, const Tensor& topk_idx);

// Throws Error if the handle is empty, or of another group.
void check_handle(const RankState& group, const Handle& handle);

struct NamedTensor {
  const char* name;
  Tensor tensor;
};
// Throws Error if what the caller's room gave for an output must not be written: null, not aligned, or over one of
// `others`, the call's inputs and what was given before.
void check_room(const NamedTensor& given, const std::vector<NamedTensor>& others);

// True if peers can read in place all rows that this combine sends back.
bool can_be_pulled(const RankState& group, const CombineInputs& in);

// The Status of a dispatch that took an expert id out of range for -1.
Status bad_expert(const BadExpert& bad, uint32_t experts);
// The Status of a dispatch to which more rows than rows_max came.
Status too_many_rows(uint64_t needed, uint64_t rows_max, Overflow overflow);

}  // namespace transload
