// Combine where a proxy drives the network.
#include "kernels/combine.cuh"

namespace transload {

template int launch_combine<FifoRail>(const CombineLaunch& launch, CUstream_st* stream);
template int prepare_combine<FifoRail>(int near_bytes);

}  // namespace transload
