// Tensors of a call on GPUs: on the group's device, and then as check_inputs.h checks those of a host.
#pragma once
#include "transload/group.h"

namespace transload {

// The same inputs with every tensor said to be on the CPU. Throws Error{kInvalidArgument} if one is not on `device`.
DispatchInputs as_if_on_host(DLDevice device, const DispatchInputs& inputs);
CombineInputs as_if_on_host(DLDevice device, const CombineInputs& inputs);

}  // namespace transload
