// What a caller may pass. Every refusal names the argument, the value and the bound, and happens before anything moves.
#pragma once
#include "layout/rank_map.h"
#include "runtime/handle.h"
#include "transload/group.h"

namespace transload {

// Throw Error. `options` is completed: expert_owner may stay empty.
void check_options(const GroupOptions& options);
void check_dispatch(const GroupOptions& options, const void* group, const DispatchInputs& in);
void check_combine(const GroupOptions& options, const void* group, const CombineInputs& in);

}  // namespace transload
