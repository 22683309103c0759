// Dispatch where a proxy drives the network.
#include "kernels/dispatch.cuh"

namespace transload {

template int launch_dispatch<FifoRail>(const DispatchLaunch& launch, CUstream_st* stream);
template int prepare_dispatch<FifoRail>(int near_bytes);

}  // namespace transload
