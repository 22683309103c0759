// Group::count on a CPU. It reads what no call changes, so any thread may ask.
#pragma once
#include "runtime/rank_state.h"

namespace transload {

// Throws Error.
CountOutputs count(const RankState& rank, const Tensor& topk_idx);

}  // namespace transload
