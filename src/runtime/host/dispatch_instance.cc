// Dispatch on the host: the call's code over the warps of the CPU.
#include "runtime/host/dispatch_call.h"

#include "executor/fiber/scheduler.h"

namespace transload {

template DispatchOutputs HostCalls<HostWarp>::dispatch(const DispatchInputs& in);

}  // namespace transload
