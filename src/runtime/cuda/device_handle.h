// A handle's tables on the device, in the group's slabs.
#pragma once
#include <map>
#include <memory>

#include "kernels/device_call.h"
#include "runtime/arena.h"

namespace transload {

struct DeviceHandleBlock {
  DeviceHandle tables;
  std::shared_ptr<Lease::Block> room;
  Word seal;           // of its report
  uint32_t channels;   // of its spans
  uint32_t log_width;  // owners of a token among my peers, at most
  int64_t rows;        // that I receive; of a call without a host wait: the most
  // Of spans for other channels: as long as the handle, for whoever replays a call that cuts it so.
  mutable std::map<uint32_t, std::shared_ptr<Lease::Block>> room_of_channels;
};

// Which entries and rows belong to which channel of a call: the handle's own, or cut anew.
struct DeviceSpans {
  uint64_t* forward = nullptr;   // [source slots][channels + 1]
  uint64_t* arriving = nullptr;  // [ranks][channels + 1]
};

}  // namespace transload
