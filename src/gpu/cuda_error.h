// How a CUDA call that failed becomes an Error: the call's name, the driver's text, the device.
#pragma once
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "transload/status.h"

namespace transload {

constexpr int kNoDevice = -1;

[[noreturn]] void throw_cuda(cudaError_t error, const char* call, int device);
[[noreturn]] void throw_cuda(CUresult error, const char* call, int device);

// Throws Error{kOutOfMemory} if memory is short, {kNotSupported} for what this machine cannot do, else {kDevice}.
inline void check_cuda(cudaError_t error, const char* call, int device = kNoDevice) {
  if (error != cudaSuccess) [[unlikely]]
    throw_cuda(error, call, device);
}
inline void check_cuda(CUresult error, const char* call, int device = kNoDevice) {
  if (error != CUDA_SUCCESS) [[unlikely]]
    throw_cuda(error, call, device);
}

}  // namespace transload
