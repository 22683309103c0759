// Pages passed as a file descriptor: one allocation a region, mapped by each process for each of its devices that needs
// it. They live while anybody maps them or holds the descriptor.
#include <cuda.h>
#include <fcntl.h>
#include <mutex>
#include <set>

#include <cstdint>
#include <new>

#include "base/bytes.h"
#include "base/math.h"
#include "gpu/backing.h"
#include "gpu/cuda_error.h"
#include "gpu/device_block.h"
#include "gpu/device_info.h"
#include "gpu/driver.h"

namespace transload {

namespace {

constexpr CUmemAllocationHandleType kByFd = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;

// Holds an allocation until it is mapped and passed on. Then the mapping and the descriptor keep its pages alive.
struct Allocation {
  Allocation() = default;
  ~Allocation() {
    if (held) driver().release(handle);
  }
  Allocation(const Allocation&) = delete;
  CUmemGenericAllocationHandle handle = 0;
  bool held = false;
};

class VmmBacking final : public DeviceBacking {
 public:
  VmmBacking(int device, size_t bytes) : space_(device, bytes) {}

  void map(const Allocation& pages, Descriptor fd) {
    const int device = space_.device;
    check_cuda(driver().map(space_.at, space_.bytes, 0, pages.handle, 0), "cuMemMap", device);
    space_.mapped = true;
    reach_from(device);
    base_ = reinterpret_cast<char*>(space_.at);
    fd_ = std::move(fd);
  }

  int fd() const override { return fd_.get(); }
  void close_fd() override { fd_.reset(); }
  std::string handle() const override { return ByteWriter().u64(space_.bytes).take(); }
  // Access is set once for each device: the driver refuses to set it again, and all ranks that share the memory ask for
  // it.
  void reach_from(int device) const override {
    const std::lock_guard lock(reaching_);
    if (reached_.count(device) != 0) return;
    CUmemAccessDesc access{};
    access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    access.location.id = device;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    check_cuda(driver().set_access(space_.at, space_.bytes, &access, 1), "cuMemSetAccess", device);
    reached_.insert(device);
  }

 private:
  struct AddressSpace {
    AddressSpace(int on, size_t size) : device(on), bytes(size) {
      check_cuda(driver().reserve(&at, bytes, 0, 0, 0), "cuMemAddressReserve", device);
    }
    ~AddressSpace() {
      OnDevice here(device, std::nothrow);
      if (mapped) driver().unmap(at, bytes);
      driver().address_free(at, bytes);
    }
    AddressSpace(const AddressSpace&) = delete;
    int device;
    size_t bytes;
    CUdeviceptr at = 0;
    bool mapped = false;
  };

  AddressSpace space_;
  mutable std::mutex reaching_;
  mutable std::set<int> reached_;
  Descriptor fd_;
};

}  // namespace

std::unique_ptr<DeviceBacking> make_vmm(int device, size_t bytes) {
  const Driver& calls = driver();
  OnDevice here(device);
  CUmemAllocationProp of{};
  of.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  of.requestedHandleTypes = kByFd;
  of.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  of.location.id = device;
  // Only devices that can are asked for memory that a NIC reaches.
  of.allocFlags.gpuDirectRDMACapable = find_devices().devices.at(size_t(device)).gpu_direct;
  size_t unit = 0;
  check_cuda(calls.granularity(&unit, &of, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), "cuMemGetAllocationGranularity",
             device);
  const size_t whole = round_up(bytes, unit);
  check_device_room(device, whole, "device region");
  Allocation pages;
  const CUresult made = calls.create(&pages.handle, whole, &of, 0);
  if (made == CUDA_ERROR_OUT_OF_MEMORY) throw_no_room(device, whole, "device region");
  check_cuda(made, "cuMemCreate", device);
  pages.held = true;
  int passed = -1;
  check_cuda(calls.export_handle(&passed, pages.handle, kByFd, 0), "cuMemExportToShareableHandle", device);
  Descriptor fd(passed);
  ::fcntl(passed, F_SETFD, FD_CLOEXEC);
  auto backing = std::make_unique<VmmBacking>(device, whole);
  backing->map(pages, std::move(fd));
  zero_device(device, backing->base(), whole);
  return backing;
}

std::unique_ptr<DeviceBacking> map_vmm(int device, size_t bytes, std::string_view handle, Descriptor fd) {
  ByteReader reader(handle);
  const uint64_t whole = reader.u64();
  if (!reader.done() || whole < bytes || !fd) return nullptr;
  OnDevice here(device);
  Allocation pages;
  void* const passed = reinterpret_cast<void*>(intptr_t(fd.get()));
  check_cuda(driver().import_handle(&pages.handle, passed, kByFd), "cuMemImportFromShareableHandle", device);
  pages.held = true;
  auto backing = std::make_unique<VmmBacking>(device, whole);
  backing->map(pages, Descriptor());
  return backing;
}

}  // namespace transload
