// The options of a rank of a scenario's group, in a world or elsewhere.
#pragma once
#include <transload/group.h>

#include <cstdint>
#include <vector>

#include "sim/scenario/scenario.h"

namespace transload {

// `processes`: by rank of the group, the rank that the scenario knows it by. All of them, unless some are lost.
GroupOptions options_of(const Scenario& scenario, const std::vector<uint32_t>& node_sizes,
                        const std::vector<uint32_t>& processes, uint32_t rank);

}  // namespace transload
