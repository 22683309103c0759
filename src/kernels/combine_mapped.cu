// Combine where rails are mapped.
#include "kernels/combine.cuh"

namespace transload {

template int launch_combine<MappedRail>(const CombineLaunch& launch, CUstream_st* stream);
template int prepare_combine<MappedRail>(int near_bytes);

}  // namespace transload
