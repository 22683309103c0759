// The verdict machine as it ships: without canaries.
#include "control/verdict.h"

#include "control/verdict_rules.h"

namespace transload {

template class BasicArbiter<HostPlants>;
template class BasicMember<HostPlants>;

}  // namespace transload
