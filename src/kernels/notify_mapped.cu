// Notify where rails are mapped.
#include "kernels/notify.cuh"

namespace transload {

template int launch_notify<MappedRail>(const NotifyLaunch& launch, CUstream_st* stream);
template int prepare_notify<MappedRail>(int near_bytes);

}  // namespace transload
