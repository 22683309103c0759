// The options of a rank of a scenario's group, in a world or elsewhere.
#pragma once
#include <transload/group.h>

#include <cstdint>
#include <vector>

#include "sim/scenario/scenario.h"

namespace transload {

// `processes` has, by rank of the group, the rank of the scenario; the two differ once some ranks are lost.
GroupOptions options_of(const Scenario& scenario, const std::vector<uint32_t>& node_sizes,
                        const std::vector<uint32_t>& processes, uint32_t rank);

}  // namespace transload
