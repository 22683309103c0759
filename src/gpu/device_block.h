// Memory of one rank alone: on its GPU, and pinned on the host where its kernels reach it. No CUDA in this header.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "os/descriptor.h"

namespace transload {

// Throws Error{kOutOfMemory} with wanted and free bytes if the device has no room; `what` begins the message.
void check_device_room(int device, uint64_t bytes, const std::string& what);

[[noreturn]] void throw_no_room(int device, uint64_t bytes, const std::string& what);

// Zeros `bytes` at `at` on the device; they have landed when it returns, whatever runs on other streams.
void zero_device(int device, void* at, size_t bytes);

class DeviceBacking;

// Memory of a device, which begins as zeros. Where the device has virtual memory management, freeing waits for no
// kernel, so whoever frees must have waited for its own kernels. Elsewhere freeing waits for all kernels of the device.
class DeviceBlock {
 public:
  DeviceBlock();
  // Throws Error{kOutOfMemory}, or {kNotSupported} if there is no GPU.
  DeviceBlock(int device, size_t bytes, const std::string& what = "device memory");
  ~DeviceBlock();
  DeviceBlock(DeviceBlock&&) noexcept;
  DeviceBlock& operator=(DeviceBlock&&) noexcept;

  char* base() const;
  size_t bytes() const { return bytes_; }
  int device() const { return device_; }

 private:
  std::unique_ptr<DeviceBacking> backing_;
  size_t bytes_ = 0;
  int device_ = -1;
};

// A dma-buf of the whole block, whose bytes must be whole pages. Throws Error{kDevice}.
Descriptor dma_buf_of(const DeviceBlock& block);

// Pinned host memory that kernels of every device reach; it begins as zeros. A freed one is kept for the process's next
// block of that size.
class PinnedBlock {
 public:
  PinnedBlock() = default;
  PinnedBlock(int device, size_t bytes);
  ~PinnedBlock() { reset(); }
  PinnedBlock(PinnedBlock&& other) noexcept { *this = std::move(other); }
  PinnedBlock& operator=(PinnedBlock&& other) noexcept {
    if (this == &other) return *this;
    reset();
    host_ = std::exchange(other.host_, nullptr);
    on_device_ = std::exchange(other.on_device_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    device_ = other.device_;
    return *this;
  }

  char* host() const { return host_; }
  char* on_device() const { return on_device_; }  // the address of the same bytes for kernels
  size_t bytes() const { return bytes_; }

 private:
  void reset();

  char* host_ = nullptr;
  char* on_device_ = nullptr;
  size_t bytes_ = 0;
  int device_ = -1;
};

}  // namespace transload
