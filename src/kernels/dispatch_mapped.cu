// Dispatch where rails are mapped.
#include "kernels/dispatch.cuh"

namespace transload {

template int launch_dispatch<MappedRail>(const DispatchLaunch& launch, CUstream_st* stream);
template int prepare_dispatch<MappedRail>(int near_bytes);

}  // namespace transload
