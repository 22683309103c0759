// Combine where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/combine.cuh"
#include "kernels/nic_kernels.h"

namespace transload {

template int launch_combine<IbgdaRail>(const CombineLaunch& launch, CUstream_st* stream);
template int prepare_combine<IbgdaRail>(int near_bytes);
const void* ibgda_combine() { return reinterpret_cast<const void*>(combine_kernel<IbgdaRail>); }

}  // namespace transload
