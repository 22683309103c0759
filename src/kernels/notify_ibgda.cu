// Notify where warps fill the queues of a NIC themselves. Built where NVSHMEM's headers are.
#include "executor/cuda/rail_ibgda.cuh"
#include "kernels/nic_kernels.h"
#include "kernels/notify.cuh"

namespace transload {

template int launch_notify<IbgdaRail>(const NotifyLaunch& launch, CUstream_st* stream);
template int prepare_notify<IbgdaRail>(int near_bytes);
const void* ibgda_notify() { return reinterpret_cast<const void*>(notify_kernel<IbgdaRail>); }

}  // namespace transload
