// Dispatch where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/dispatch.cuh"
#include "kernels/nic_kernels.h"

namespace transload {

template int launch_dispatch<IbgdaRail>(const DispatchLaunch& launch, CUstream_st* stream);
template int prepare_dispatch<IbgdaRail>(int near_bytes);
const void* ibgda_dispatch() { return reinterpret_cast<const void*>(dispatch_kernel<IbgdaRail>); }

}  // namespace transload
