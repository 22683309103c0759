// What a caller may pass. Every refusal names the argument, the value and the bound, and happens before anything moves.
#pragma once
#include "layout/plan.h"
#include "runtime/handle.h"
#include "transload/group.h"

namespace transload {

// Throw Error. `options` is completed: expert_owner may stay empty.
void check_options(const GroupOptions& options);
void check_dispatch(const GroupOptions& options, const void* group, const DispatchInputs& in);
void check_combine(const GroupOptions& options, const void* group, const CombineInputs& in);

// What a dispatch says that took an expert id out of range for -1.
Status bad_expert(const BadExpert& bad, uint32_t experts);

}  // namespace transload
