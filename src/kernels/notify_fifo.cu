// Notify where a proxy drives the network.
#include "kernels/notify.cuh"

namespace transload {

template int launch_notify<FifoRail>(const NotifyLaunch& launch, CUstream_st* stream);
template int prepare_notify<FifoRail>(int near_bytes);

}  // namespace transload
