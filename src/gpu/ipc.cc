// Memory of cudaMalloc: reached by plain pointers inside a process, and by a CUDA IPC handle from another one.
//
// CUDA leaves undefined what becomes of a mapping whose exporter frees first. So whoever maps holds one end of a pipe,
// and the exporter frees only memory whose pipe nobody holds any more; what is still held stays until a later region is
// made or dropped, or until the process ends. Nobody waits for anybody.
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <mutex>
#include <new>
#include <vector>

#include "base/math.h"
#include "gpu/backing.h"
#include "gpu/cuda_error.h"
#include "gpu/device_block.h"
#include "gpu/driver.h"
#include "os/host.h"

namespace transload {

namespace {

// A handle shows whole blocks of this size, so no such block may hold memory of others.
constexpr size_t kIpcUnitBytes = size_t(2) << 20;

// Zeros from cudaMalloc. A CUDA IPC handle can name them, and every GPU of the process can be allowed to reach them.
class MallocBlock {
 public:
  MallocBlock(int device, size_t bytes) : device_(device) {
    check_device_room(device, bytes, kWhat);
    OnDevice here(device);
    void* at = nullptr;
    const cudaError_t error = cudaMalloc(&at, bytes);
    if (error == cudaErrorMemoryAllocation) {  // others have taken the memory meanwhile, or what is free is in pieces
      (void)cudaGetLastError();
      throw_no_room(device, bytes, kWhat);
    }
    check_cuda(error, "cudaMalloc", device);
    base_.reset(static_cast<char*>(at), Free{device});
    zero_device(device, at, bytes);
  }

  char* base() const { return base_.get(); }
  int device() const { return device_; }

 private:
  static constexpr const char* kWhat = "device region";
  struct Free {
    int device;
    void operator()(char* at) const {
      OnDevice here(device, std::nothrow);
      if (here) cudaFree(at);
    }
  };
  std::shared_ptr<char> base_;
  int device_;
};

class PlainBacking : public DeviceBacking {
 public:
  PlainBacking(int device, size_t bytes) : block_(device, bytes) { base_ = block_.base(); }
  void reach_from(int device) const override {
    OnDevice here(device);
    const cudaError_t error = cudaDeviceEnablePeerAccess(block_.device(), 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled)
      (void)cudaGetLastError();
    else
      check_cuda(error, "cudaDeviceEnablePeerAccess", device);
  }

 protected:
  MallocBlock block_;
};

struct Held {
  MallocBlock block;
  Descriptor users;  // the pipe's reading end: it ends once nobody maps the block
};

bool in_use(const Descriptor& users) {
  pollfd state{users.get(), 0, 0};
  return ::poll(&state, 1, 0) <= 0 || (state.revents & POLLHUP) == 0;
}

// Blocks that were dropped while others mapped them.
class HeldBlocks {
 public:
  void sweep() {
    std::vector<Held> free;  // destroyed after the lock is released, because freeing may wait
    std::lock_guard lock(mutex_);
    const auto kept =
        std::partition(blocks_.begin(), blocks_.end(), [](const Held& held) { return in_use(held.users); });
    std::move(kept, blocks_.end(), std::back_inserter(free));
    blocks_.erase(kept, blocks_.end());
  }
  void add(Held held) {
    std::lock_guard lock(mutex_);
    blocks_.push_back(std::move(held));
  }

 private:
  std::mutex mutex_;
  std::vector<Held> blocks_;
};

HeldBlocks& held_blocks() {
  static HeldBlocks& blocks = *new HeldBlocks;  // never destroyed: the driver may be gone when static objects are
  return blocks;
}

class IpcExport final : public PlainBacking {
 public:
  IpcExport(int device, size_t bytes) : PlainBacking(device, bytes) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
      throw Error(Code::kOutOfMemory, "device region: a pipe cannot be made: " + text_of_error(errno));
    users_.reset(ends[0]);
    use_.reset(ends[1]);
    OnDevice here(device);
    check_cuda(cudaIpcGetMemHandle(&handle_, base_), "cudaIpcGetMemHandle", device);
  }
  ~IpcExport() override {
    use_.reset();
    held_blocks().sweep();
    if (in_use(users_)) held_blocks().add({std::move(block_), std::move(users_)});
  }
  int fd() const override { return use_.get(); }
  void close_fd() override { use_.reset(); }
  std::string handle() const override { return std::string(handle_.reserved, sizeof handle_.reserved); }

 private:
  cudaIpcMemHandle_t handle_{};
  Descriptor users_, use_;
};

// CUDA counts who opened a handle in a process, but of two threads that open one at the same moment the second may be
// told that it is mapped already.
std::mutex& opening() {
  static std::mutex& one = *new std::mutex;
  return one;
}

class IpcMapping final : public DeviceBacking {
 public:
  IpcMapping(int device, const cudaIpcMemHandle_t& handle, Descriptor use) : device_(device), use_(std::move(use)) {
    OnDevice here(device);
    void* at = nullptr;
    const std::lock_guard lock(opening());
    check_cuda(cudaIpcOpenMemHandle(&at, handle, cudaIpcMemLazyEnablePeerAccess), "cudaIpcOpenMemHandle", device);
    base_ = static_cast<char*>(at);
  }
  ~IpcMapping() override {
    OnDevice here(device_, std::nothrow);
    const std::lock_guard lock(opening());
    if (here) cudaIpcCloseMemHandle(base_);
  }
  void reach_from(int device) const override {
    if (device != device_)
      throw Error(Code::kNotSupported, "device region: a CUDA IPC handle was opened for device " +
                                           std::to_string(device_) + ", not for device " + std::to_string(device));
  }

 private:
  const int device_;
  Descriptor use_;
};

}  // namespace

std::unique_ptr<DeviceBacking> make_ipc(int device, size_t bytes) {
  held_blocks().sweep();
  return std::make_unique<IpcExport>(device, round_up(bytes, kIpcUnitBytes));
}

std::unique_ptr<DeviceBacking> make_plain(int device, size_t bytes) {
  return std::make_unique<PlainBacking>(device, bytes);
}

std::unique_ptr<DeviceBacking> map_ipc(int device, size_t bytes, std::string_view handle, Descriptor fd) {
  cudaIpcMemHandle_t opened{};
  if (bytes == 0 || handle.size() != sizeof opened.reserved || !fd) return nullptr;
  std::memcpy(opened.reserved, handle.data(), handle.size());
  return std::make_unique<IpcMapping>(device, opened, std::move(fd));
}

}  // namespace transload
