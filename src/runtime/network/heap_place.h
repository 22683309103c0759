// A place for a group's network region in NVSHMEM's heap: the ranks that rails join become a world, once a process, and
// agree on a block of its heap.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/group_making.h"
#include "runtime/network/heap_facts.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload {

// Where a rank's memory is, and how rails come to it.
struct HeapHome {
  int device;                                               // -1: the host
  void (*there)(int device, const std::function<void()>&);  // runs a step where that device is current
  void (*zero)(int device, char* at, uint64_t bytes);       // the zeros have landed when it returns
  bool maps_rails = true;                                   // false: rails are queues of a NIC
};

// Collective: returns a block of zeros. If rails are mapped, so are their blocks here; else the block is so long that a
// network region has its place between the ends of keys. Throws Error on all ranks alike; every wait has the deadline
// of making a group. If NVSHMEM itself does not return or fails, it is lost to this process.
std::unique_ptr<HeapBlock> place_in_heap(GroupMaking& group, const HeapHome& home);

// Why a world is lost whose group ended with this fault.
inline std::string lost_by(const Fault& fault) {
  return "a group that used it was ended by a fault of rank " + std::to_string(fault.culprit_rank);
}

}  // namespace transload
