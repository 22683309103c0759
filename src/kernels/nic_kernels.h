// The kernels whose warps fill the queues of a NIC: in builds that had NVSHMEM's headers.
#pragma once
#include <array>

#include "kernels/role_kernels.h"

namespace transload {

// What the kernel of run_hello() (protocol/hello.h) gets. One warp runs it, before there are calls.
struct HelloLaunch {
  Board board;  // the board's tables lie in device memory
  DeviceCall call;
  NearShape near;
  StoreAreas areas;
  RailQueue queue;
};
// These functions return a cudaError_t, as those of role_kernels.h do.
int launch_hello(const HelloLaunch& launch, CUstream_st* stream);
int prepare_hello(int near_bytes);

// A kernel of each file, by the symbol that CUDA's runtime knows. The file's module has the constants that NVSHMEM's
// header reads.
const void* ibgda_hello();
const void* ibgda_notify();
const void* ibgda_dispatch();
const void* ibgda_combine();

struct NicKernels {
  RoleKernels roles;
  int (*hello)(const HelloLaunch& launch, CUstream_st* stream);
  int (*prepare_hello)(int near_bytes);
  std::array<const void*, 4> one_of_each_module;
};

// The kernels that drive a NIC; null if this build has none.
const NicKernels* nic_kernels();

}  // namespace transload
