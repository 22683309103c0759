// Combine on the host: the call's code over the warps of the CPU.
#include "runtime/host/combine_call.h"

#include "executor/fiber/scheduler.h"

namespace transload {

template CombineOutputs HostCalls<HostWarp>::combine(const CombineInputs& in);

}  // namespace transload
