// A place for a group's network region in NVSHMEM's heap: the ranks that rails join become a world, once a process, and
// agree on a block of its heap.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "os/host.h"
#include "runtime/group_impl.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload {

// Where a rank's memory is, and how rails come to it.
struct HeapHome {
  int device;                                               // -1: the host
  void (*there)(int device, const std::function<void()>&);  // runs a step where that device is current
  void (*zero)(int device, char* at, uint64_t bytes);       // has landed when it returns
  bool maps_rails = true;                                   // else by queues of a NIC
};

// [ranks] the lowest rank of those that rails join with each, over other ranks too.
std::vector<uint32_t> rail_worlds(const RankMap& map);

// What a rank says of its process before a world is made or used again.
struct HeapFacts {
  std::string lost;                            // NvshmemWorld::lost()
  uint64_t number = 0;                         // of its world
  uint32_t pes = 0;                            // in it
  std::vector<NvshmemWorld::HeapPart> blocks;  // without addresses
  std::string settings;                        // what NVSHMEM is told if it is started

  std::string pack() const;
  static HeapFacts unpack(std::string_view said);
};

// Why these ranks can not be in one heap, the same on all; "": they can. `worlds` as of rail_worlds.
std::string heap_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds);

// The block that is long enough and free on all ranks of `root`'s world: only then all have lingered that had it. As
// many as there are: there is none.
size_t free_block(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds, uint32_t root,
                  uint64_t bytes);

// Why regions that lie so far in the heaps of these ranks can not be rails of each other, the same on all; "": they
// can.
std::string heap_offset_refusal(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& worlds);

// Collective. Zeros, with the blocks of all rails mapped if they are to be; else so long that a network region has its
// place between the ends of keys. Throws Error on all ranks alike; every wait has the deadline
// of making a group. If NVSHMEM itself does not return or fails, it is lost to this process.
std::unique_ptr<HeapBlock> place_in_heap(Group::Impl& group, const HeapHome& home);

// Why a world is lost whose group had this fault.
inline std::string lost_by(const Fault& fault) {
  return "a group that used it was ended by a fault of rank " + std::to_string(fault.culprit_rank);
}

}  // namespace transload
