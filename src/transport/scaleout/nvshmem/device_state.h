// What NVSHMEM 3.4.5 tells a module of kernels of its heap and of the queues of its NIC, as it lies in memory: declared
// here because a build needs none of its headers. Where they are, src/kernels/hello_ibgda.cu compares.
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
  char* heap;  // of this PE; as far in the heap of another one lies the same
  uint64_t heap_bytes;
  void* mapped;
  char** bases;  // [pes] each PE's heap, as its NIC calls it; in device memory
  bool on_host;
  bool by_rail;  // the heap is that of a node, behind other keys
  char others[694];
  bool has_queues;
  char tail[7];
};
static_assert(sizeof(NvshmemHeapState) == 776 && offsetof(NvshmemHeapState, heap) == 40);
static_assert(offsetof(NvshmemHeapState, bases) == 64 && offsetof(NvshmemHeapState, has_queues) == 768);

// Where the NIC shows what is complete of a queue.
struct NvshmemCompletion {
  int head;
  int kind;
  void* record;
  char* shown;
  char rest[48];
};
static_assert(sizeof(NvshmemCompletion) == 72 && offsetof(NvshmemCompletion, shown) == 16);

struct NvshmemQueue {
  static constexpr int kConnected = 3;  // to one PE, and executed in order
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
  static constexpr uint32_t kNearKeys = 64;  // of each kind; the others lie in device memory
  int head;
  char unused[24];
  uint32_t queues_to_pe;
  char ways[8];
  uint64_t granularity_log2;  // of the heap: keys are listed so often
  int nics;
  char flags[3];
  bool rung_by_host;             // GPUs do not ring the NIC: a thread of NVSHMEM does
  NvshmemKey local[kNearKeys];   // [granule]
  NvshmemKey remote[kNearKeys];  // [granule][pes]
  char targets[6168];
  NvshmemQueue* queues;  // [pes][queues_to_pe], in device memory
  char others[16];
  NvshmemKey* far_local;  // behind the near ones
  NvshmemKey* far_remote;
  char tail[72];
};
static_assert(sizeof(NvshmemNicState) == 8384 && offsetof(NvshmemNicState, granularity_log2) == 40);
static_assert(offsetof(NvshmemNicState, local) == 56 && offsetof(NvshmemNicState, remote) == 1080);
static_assert(offsetof(NvshmemNicState, queues) == 8272 && offsetof(NvshmemNicState, far_local) == 8296);

// Both, under the names by which NVSHMEM finds them in a module.
struct NvshmemStates {
  static constexpr const char* kHeapName = "nvshmemi_device_state_d";
  static constexpr const char* kNicName = "nvshmemi_ibgda_device_state_d";
  NvshmemHeapState heap;
  NvshmemNicState nic;
};

}  // namespace transload
