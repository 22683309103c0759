// What a Handle of a group on GPUs holds: a handle on the device, in the group's slabs.
#pragma once
#include <cstdint>
#include <memory>

#include "kernels/device_handle.h"
#include "runtime/rank_state.h"

namespace transload {

// Room for a dispatch of `tokens` tokens of this rank, whatever the others send.
inline DeviceHandleSizes handle_sizes(const RankState& rank, uint64_t tokens, uint32_t top_k, uint32_t channels) {
  return {.tables = most_of_handle(rank.map, tokens, rank.options.tokens_max, top_k),
          .channels = channels,
          .experts_of_mine = rank.experts.experts_of(rank.map.me)};
}

struct DeviceHandleBlock {
  DeviceHandle on_device;
  std::shared_ptr<Lease::Block> room;
  Word seal;          // seal of the handle's report
  uint32_t channels;  // channels of the handle's spans
};

// Which entries and rows belong to which channel of a call: the handle's own, or cut for this call.
struct DeviceSpans {
  uint64_t* forward = nullptr;   // [source slots][channels + 1]
  uint64_t* arriving = nullptr;  // [ranks][channels + 1]
};

}  // namespace transload
