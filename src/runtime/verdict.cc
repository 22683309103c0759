// The verdict machine as it ships: without canaries.
#include "runtime/verdict.h"

#include "runtime/verdict_rules.h"

namespace transload {

template class BasicArbiter<HostPlants>;
template class BasicMember<HostPlants>;

}  // namespace transload
