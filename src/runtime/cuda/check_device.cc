// See check_device.h.
#include "runtime/cuda/check_device.h"

#include <string>

#include "base/type_names.h"

namespace transload {

namespace {

void take_from(DLDevice device, const char* argument, Tensor& tensor) {
  if (!tensor.given()) return;
  if (tensor.device.device_type != device.device_type || tensor.device.device_id != device.device_id)
    throw Error(Code::kInvalidArgument,
                std::string(argument) + ": " + place_of(tensor.device) + ", must be " + place_of(device));
  tensor.device = {kDLCPU, 0};
}

}  // namespace

DispatchInputs as_if_on_host(DLDevice device, const DispatchInputs& inputs) {
  DispatchInputs out = inputs;
  take_from(device, "x", out.x);
  take_from(device, "scales", out.scales);
  take_from(device, "topk_idx", out.topk_idx);
  take_from(device, "topk_weights", out.topk_weights);
  take_from(device, "out_x", out.out_x);
  return out;
}

CombineInputs as_if_on_host(DLDevice device, const CombineInputs& inputs) {
  CombineInputs out = inputs;
  take_from(device, "x", out.x);
  take_from(device, "topk_weights", out.topk_weights);
  take_from(device, "bias[0]", out.bias[0]);
  take_from(device, "bias[1]", out.bias[1]);
  take_from(device, "out_x", out.out_x);
  return out;
}

}  // namespace transload
