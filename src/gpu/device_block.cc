// Taking memory on the device, and pinned on the host.
#include "gpu/device_block.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <map>
#include <mutex>

#include "base/math.h"
#include "gpu/backing.h"
#include "gpu/cuda_error.h"
#include "gpu/device_info.h"
#include "gpu/driver.h"
#include "os/free_memory.h"

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
  cudaStream_t stream = nullptr;  // a stream that waits for no kernel
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags", device);
  cudaError_t error = cudaMemsetAsync(at, 0, bytes, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  check_cuda(error, "cudaMemsetAsync", device);
}

DeviceBlock::DeviceBlock(int device, size_t bytes, const std::string& what) : bytes_(bytes), device_(device) {
  if (bytes == 0) throw Error(Code::kInvalidArgument, what + ": 0 bytes, but must be at least 1");
  check_device_room(device, bytes, what);
  const Devices all = find_devices();
  backing_ = all.devices.at(size_t(device)).vmm_by_fd ? make_vmm(device, bytes) : make_plain(device, bytes);
  backing_->close_fd();
}

DeviceBlock::DeviceBlock() = default;
DeviceBlock::~DeviceBlock() = default;
DeviceBlock::DeviceBlock(DeviceBlock&&) noexcept = default;
DeviceBlock& DeviceBlock::operator=(DeviceBlock&&) noexcept = default;
char* DeviceBlock::base() const { return backing_ ? backing_->base() : nullptr; }

Descriptor dma_buf_of(const DeviceBlock& block) {
  OnDevice here(block.device());
  int shared = -1;
  check_cuda(driver().range_handle(&shared, reinterpret_cast<CUdeviceptr>(block.base()), block.bytes(),
                                   CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0),
             "cuMemGetHandleForAddressRange", block.device());
  return Descriptor(shared);
}

namespace {

// Freeing pinned memory waits for every kernel of the device, also for one that waits for a rank of this process. So
// the memory is kept for the process's next block of that size.
struct PinnedPool {
  std::mutex mutex;
  std::multimap<size_t, char*> free;

  char* take(size_t bytes) {
    const std::lock_guard lock(mutex);
    const auto found = free.lower_bound(bytes);
    if (found == free.end() || found->first != bytes) return nullptr;
    char* const at = found->second;
    free.erase(found);
    return at;
  }
  void give(size_t bytes, char* at) {
    const std::lock_guard lock(mutex);
    free.emplace(bytes, at);
  }
};
PinnedPool& pinned_pool() {
  static auto* const pool = new PinnedPool;  // outlives every group
  return *pool;
}

}  // namespace

PinnedBlock::PinnedBlock(int device, size_t bytes) : bytes_(round_up(bytes, 4096)), device_(device) {
  if (bytes == 0) throw Error(Code::kInvalidArgument, "pinned host memory: 0 bytes, but must be at least 1");
  OnDevice here(device);
  host_ = pinned_pool().take(bytes_);
  void* at = nullptr;
  if (host_ == nullptr) {
    check_room(bytes_, "pinned host memory");
    check_cuda(cudaHostAlloc(&at, bytes_, cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc", device);
    host_ = static_cast<char*>(at);
  }
  const cudaError_t error = cudaHostGetDevicePointer(&at, host_, 0);
  if (error != cudaSuccess) reset();
  check_cuda(error, "cudaHostGetDevicePointer", device);
  on_device_ = static_cast<char*>(at);
  std::memset(host_, 0, bytes_);
}

void PinnedBlock::reset() {
  if (host_ != nullptr) pinned_pool().give(bytes_, host_);
  host_ = nullptr;
}

}  // namespace transload
