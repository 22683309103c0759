// What the kernels of a rank's calls are given beside their trip.
#pragma once
#include <cstdint>

#include "base/time_units.h"
#include "kernels/near.h"
#include "kernels/role_kernels.h"
#include "runtime/cuda/current_call.h"
#include "runtime/group_options.h"
#include "runtime/rank_state.h"

namespace transload {

static_assert(kRanksMax <= 1u << kRankBits && kChannelsMax < 1u << kQueueBits, "a rail's keys hold any rank and queue");

// Positions of the rings of one kind, on the device. Drained words of rails lie in pinned memory, where a proxy writes
// them; with a NIC's queues they are all ones. Other rings have none.
struct DevicePositions {
  Word *sent, *taken, *drained;
  Positions view() const { return {sent, taken, drained}; }
};

// Device memory that every call of a rank uses.
struct DeviceBuffers {
  DeviceState* state;
  Board board;        // the board's tables lie in device memory
  Placement experts;  // the tables lie in device memory
  Card* card;
  char *grants, *scales, *headers, *counts_to_peers, *counts_to_nodes;
  char* cached_headers;  // [tokens_max] headers of a cached dispatch
  LayoutScratch layout;
  char* global_tables;
  uint64_t* spans;                 // spans of a call that cannot use those of its handle
  char *spare_handle, *spare_sum;  // room for a call that finds none in the slabs; each as large as any call needs
  StoreArea* areas;                // regions that kernels store to
  uint32_t area_count;
  DevicePositions dispatch_up, dispatch_rail, combine_up, combine_rail;
  RailQueue queue;  // queue of this rank's proxy or NIC, if there is one
};

// The first two live as long as the group, which fills in the rest while it is made.
struct LaunchFacts {
  const RankState& rank;
  const CurrentCall& current;
  DeviceBuffers buffers{};
  RoleKernels kernels{};
  HostWords* host = nullptr;  // the words at the address that kernels use
  // Near memory that a block may take for stages and tables. CUDA keeps one bound for each kernel of a device, so it is
  // alike for all groups.
  uint64_t near_bytes_max = 0;

  // `born`: of the handle that the call uses; null: a first dispatch.
  DeviceCall device_call(const Word* born) const;
  // Board, epoch and counters are the kernel's to fill in.
  Call call(const Card& card, uint32_t arrivals_expected) const;
  // Where kernels may store: to regions, and to these outputs of a call.
  StoreAreas areas(const Tensor& one = {}, const Tensor& other = {}) const;
  RailQueue rail_queue() const;
  // `behind_row`: bytes of the scales and the header that follow a token's row in its slot; 0 where rows move alone.
  NearShape near_shape(uint64_t behind_row) const;

 private:
  uint64_t deadline_ns() const { return uint64_t(current.deadline_ms) * kMillisecondNs; }
};

}  // namespace transload
