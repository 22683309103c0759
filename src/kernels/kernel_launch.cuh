// How a kernel of one argument struct is launched. The result is about this launch alone: an error that the caller left
// behind is not taken for one of it.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/near.h"

namespace transload {

struct LaunchShape {
  uint32_t blocks, threads;
  uint64_t near_bytes;  // near memory of each block
};

// Blocks of this many warps, whose near memory is cut as for kWarpsOfBlock.
template <class Launch>
LaunchShape shape_of(const Launch& launch, uint32_t blocks, uint32_t warps) {
  return {blocks, warps * 32, kWarpsOfBlock * launch.near.bytes_of_warp()};
}

template <class Args>
int launch(void (*kernel)(const Args), const LaunchShape& shape, const Args& args, CUstream_st* stream) {
  void* arguments[] = {const_cast<Args*>(&args)};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(shape.blocks), dim3(shape.threads), arguments,
                          shape.near_bytes, stream);
}

// Loads a kernel before any launch, and allows it this much near memory.
template <class Args>
int load(void (*kernel)(const Args), uint64_t near_bytes) {
  cudaFuncAttributes attributes;
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, function)) return error;
  return near_bytes == 0 ? cudaSuccess
                         : cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(near_bytes));
}

// The dynamic near memory of this block.
__device__ inline char* near_memory() {
  extern __shared__ __align__(16) char near[];
  return near;
}

}  // namespace transload
