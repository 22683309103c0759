// See device_block.h.
#include "transport/scaleup/nvlink/device_block.h"

#include <cuda_runtime_api.h>

#include <cstring>

#include "transport/scaleup/nvlink/cuda_error.h"
#include "transport/scaleup/nvlink/driver.h"
#include "transport/scaleup/shm/room.h"

namespace transload {

namespace {

uint64_t free_bytes(int device) {
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", device);
  return free;
}

}  // namespace

void check_device_room(int device, uint64_t bytes, const std::string& what) {
  OnDevice here(device);
  if (bytes > free_bytes(device)) throw_no_room(device, bytes, what);
}

void throw_no_room(int device, uint64_t bytes, const std::string& what) {
  OnDevice here(device);
  throw Error(Code::kOutOfMemory, what + ": " + std::to_string(bytes) + " bytes wanted, but only " +
                                      std::to_string(free_bytes(device)) + " are free on device " +
                                      std::to_string(device));
}

void zero_device(int device, void* at, size_t bytes) {
  OnDevice here(device);
  cudaStream_t stream = nullptr;  // one of its own: it waits for no kernel
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", device);
  cudaError_t error = cudaMemsetAsync(at, 0, bytes, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  check_cuda(error, "cudaMemsetAsync", device);
}

DeviceBlock::DeviceBlock(int device, size_t bytes, const std::string& what) : bytes_(bytes), device_(device) {
  if (bytes == 0) throw Error(Code::kInvalidArgument, what + ": 0 bytes, but at least 1");
  OnDevice here(device);
  check_device_room(device, bytes, what);
  void* at = nullptr;
  const cudaError_t error = cudaMalloc(&at, bytes);
  if (error == cudaErrorMemoryAllocation) {  // others took it meanwhile, or it is in pieces
    (void)cudaGetLastError();
    throw_no_room(device, bytes, what);
  }
  check_cuda(error, "cudaMalloc", device);
  base_ = static_cast<char*>(at);
  try {
    zero_device(device, base_, bytes);
  } catch (...) {
    reset();
    throw;
  }
}

void DeviceBlock::reset() {
  if (base_ == nullptr) return;
  OnDevice here(device_, std::nothrow);
  if (here) cudaFree(base_);
  base_ = nullptr;
}

PinnedBlock::PinnedBlock(int device, size_t bytes) : bytes_(bytes), device_(device) {
  if (bytes == 0) throw Error(Code::kInvalidArgument, "pinned host memory: 0 bytes, but at least 1");
  OnDevice here(device);
  check_room(bytes, "pinned host memory");
  void* at = nullptr;
  check_cuda(cudaHostAlloc(&at, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc", device);
  host_ = static_cast<char*>(at);
  const cudaError_t error = cudaHostGetDevicePointer(&at, host_, 0);
  if (error != cudaSuccess) reset();
  check_cuda(error, "cudaHostGetDevicePointer", device);
  on_device_ = static_cast<char*>(at);
  std::memset(host_, 0, bytes);
}

void PinnedBlock::reset() {
  if (host_ == nullptr) return;
  OnDevice here(device_, std::nothrow);
  if (here) cudaFreeHost(host_);
  host_ = nullptr;
}

}  // namespace transload
