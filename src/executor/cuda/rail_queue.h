// How the warps of a rank reach rails that are not mapped: by the queue in which they ask its proxy, or by queues of a
// NIC that they fill themselves. Plain C++: the host fills it.
#pragma once
#include <cstdint>

#include "base/word.h"
#include "channel/command.h"
#include "channel/nic_queue.h"

namespace transload {

// Rings have a queue of their own at every rank, numbered from 1; 0 is for cards and counts.
constexpr uint32_t kQueueBits = 11;
static_assert(kRankBits + kQueueBits <= 32);

// What a rank is called by the queues of a NIC.
struct NicNames {
  uint32_t pe;   // NVSHMEM's number of the rank
  uint32_t row;  // the row of NicPlace::told for the rank
};

// The queues of a NIC as NVSHMEM has made them, of one group; in device memory, for as long as the group. The network
// region of each rank lies at the same place of NVSHMEM's heap, and no chunk of the heap ends within it, so one key
// reaches all of it. A rank has one NIC.
struct NicPlace {
  const NicNames* names;  // [ranks]
  ToldWords told;         // zeros when the group is made
  uint32_t first_queue;   // number of the queue to each rank for cards and counts; those of channels follow it
};

struct RailQueue {
  // In pinned host memory; warps write, the proxy reads. Null: rails are mapped, and no proxy is asked.
  CommandSlot* slots = nullptr;
  const Word* taken = nullptr;    // in pinned host memory: how many commands the proxy, its writer, has taken
  Word* next = nullptr;           // in device memory: the next ticket; every warp that gives a command adds to it
  const char* network = nullptr;  // my network region, which the offsets of commands begin at
  uint32_t slot_count = 0;
  // A warp that waits for room leaves once one of these words is not 0, or when its patience ends, which is before
  // others accuse this rank of what they miss.
  const Word* gave_up = nullptr;
  const Word* abort = nullptr;
  uint64_t patience_ns = 0;
  const NicPlace* nic = nullptr;  // null: nobody fills queues of a NIC
};

// How a command was given to the queue.
enum class Asked : uint32_t {
  kTaken,    // the command has its slot
  kExpired,  // the queue had no room in time, or never will
  kAborted,  // the host has set the abort word
  kGaveUp,   // another warp has failed
};

}  // namespace transload
