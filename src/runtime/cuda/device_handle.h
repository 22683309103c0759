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

// Which entries and rows belong to which channel of a call: the handle's own, or cut anew in `room`.
struct DeviceSpans {
  uint64_t* forward = nullptr;   // [source slots][channels + 1]
  uint64_t* arriving = nullptr;  // [ranks][channels + 1]
  std::shared_ptr<Lease::Block> room;
};

}  // namespace transload
