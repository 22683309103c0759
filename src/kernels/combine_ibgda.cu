// Combine where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/combine.cuh"

namespace transload {

template int launch_combine<IbgdaRail>(const CombineLaunch& launch, CUstream_st* stream);
template int prepare_combine<IbgdaRail>(int near_bytes);

}  // namespace transload
