// What NVSHMEM 3.4.5 tells a module of kernels of its heap and of the queues of its NIC, as it lies in memory. It is
// declared here because a build needs none of NVSHMEM's headers; where they are installed, src/kernels/hello_ibgda.cu
// compares. A PE is a process of NVSHMEM's world, or its number.
#pragma once
#include <cstddef>
#include <cstdint>

#include "transport/scaleout/nvshmem/library.h"

namespace transload {

// A chunk of the heap as a NIC knows it. A key reaches no further than the end of its chunk. That end is an address for
// a local key, and an offset in the heap for a remote one.
struct NvshmemKey {
  uint32_t key;
  uint64_t end;
};
static_assert(sizeof(NvshmemKey) == 16);

struct NvshmemHeapState {
  int head;
  int pe, pes;
  char unused[28];
  char* heap;  // heap of this PE; what lies at an offset here lies at the same offset in the heap of any other
  uint64_t heap_bytes;
  void* mapped;
  char** bases;  // [pes] the address of each PE's heap for its NIC; in device memory
  bool on_host;
  bool by_rail;  // NVSHMEM_ENABLE_RAIL_OPT is on: keys are those of other heaps
  char others[694];
  bool has_queues;
  char tail[7];
};
static_assert(sizeof(NvshmemHeapState) == 776 && offsetof(NvshmemHeapState, heap) == 40);
static_assert(offsetof(NvshmemHeapState, bases) == 64 && offsetof(NvshmemHeapState, has_queues) == 768);

// Where the NIC shows how much of a queue is complete.
struct NvshmemCompletion {
  int head;
  int kind;
  void* record;
  char* shown;
  char rest[48];
};
static_assert(sizeof(NvshmemCompletion) == 72 && offsetof(NvshmemCompletion, shown) == 16);

struct NvshmemQueue {
  static constexpr int kConnected = 3;  // `kind` of a queue that leads to one PE and is executed in order
  int head;
  int kind;
  uint32_t number;
  uint32_t nic;
  char scratch[24];
  uint16_t depth;
  char entries[30];
  NvshmemCompletion* completion;
  char rest[104];
};
static_assert(sizeof(NvshmemQueue) == 184 && offsetof(NvshmemQueue, depth) == 40);
static_assert(offsetof(NvshmemQueue, completion) == 72);

struct NvshmemNicState {
  static constexpr uint32_t kNearKeys = 64;  // keys of each kind; further ones lie in device memory
  int head;
  char unused[24];
  uint32_t queues_to_pe;
  char ways[8];
  uint64_t granularity_log2;  // of the heap, in bytes: one entry of the lists of keys covers this much
  int nics;
  char flags[3];
  bool rung_by_host;             // GPUs do not ring the NIC: a thread of NVSHMEM does
  NvshmemKey local[kNearKeys];   // [granule]
  NvshmemKey remote[kNearKeys];  // [granule][pes]
  char targets[6168];
  NvshmemQueue* queues;  // [pes][queues_to_pe], in device memory
  char others[16];
  NvshmemKey* far_local;  // keys after the first kNearKeys
  NvshmemKey* far_remote;
  char tail[72];
};
static_assert(sizeof(NvshmemNicState) == 8384 && offsetof(NvshmemNicState, granularity_log2) == 40);
static_assert(offsetof(NvshmemNicState, local) == 56 && offsetof(NvshmemNicState, remote) == 1080);
static_assert(offsetof(NvshmemNicState, queues) == 8272 && offsetof(NvshmemNicState, far_local) == 8296);

// The two states, under the names by which NVSHMEM finds them in a module.
struct NvshmemStates {
  static constexpr const char* kHeapName = "nvshmemi_device_state_d";
  static constexpr const char* kNicName = "nvshmemi_ibgda_device_state_d";
  NvshmemHeapState heap;
  NvshmemNicState nic;
};

}  // namespace transload
