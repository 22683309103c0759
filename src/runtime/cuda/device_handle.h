// A handle's tables on the device, in the group's slabs.
#pragma once
#include <memory>

#include "kernels/device_call.h"
#include "runtime/arena.h"

namespace transload {

struct DeviceHandleBlock {
  DeviceHandle tables;
  std::shared_ptr<Lease::Block> room;
  uint32_t channels;   // of its spans
  uint32_t log_width;  // owners of a token among my peers, at most
  int64_t rows;        // that I receive; of a call without a host wait: the most
};

}  // namespace transload
