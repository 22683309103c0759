// Checks whether the queues of a NIC that NVSHMEM has made, and the keys of its heap, are what a group needs. The
// group's warps fill those queues.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "transport/scaleout/nvshmem/device_state.h"

namespace transload {

// How many bytes one key reaches at most, because NVSHMEM takes memory in pieces of that length.
constexpr uint64_t kNvshmemKeyBytesMost = uint64_t(1) << 31;

// A granularity of the heap, in bytes, with which one key can reach a whole region. Chunks of the heap then end so far
// apart that every block of twice a region's length has room for a region that no such end divides.
uint64_t nvshmem_granularity(uint64_t region_bytes);

struct QueueNeeds {
  uint64_t channels;
  uint64_t slots;
  uint64_t region_bytes;  // bytes of a rank's network region
  char* block;            // block of NVSHMEM's heap; twice the region always has a place for the region
  uint64_t block_bytes;
  std::vector<int> pes;  // PEs that queues must lead to
};

struct FoundQueues {
  char* region;  // the region's place in the block: one key reaches all of it, on each PE
  uint64_t heap_offset;
  uint32_t depth;
  bool rung_by_host;
  // [pes of the needs][1 + channels] where the NIC shows what is complete; in device memory.
  std::vector<std::vector<const char*>> completions;
};

// Copies bytes from where a pointer of the states leads.
using ReadState = std::function<void(void* to, const void* from, uint64_t bytes)>;

// Throws Error{kNotSupported}, with what was found and what is needed. Changes nothing.
FoundQueues find_queues(const NvshmemStates& states, const QueueNeeds& needs, const ReadState& read);

}  // namespace transload
