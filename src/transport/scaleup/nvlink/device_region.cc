// Making, exporting and mapping device memory.
#include "transport/scaleup/nvlink/device_region.h"

#include "gpu/backing.h"
#include "transload/status.h"

namespace transload {

namespace {

const DeviceInfo& chosen(const Devices& all, int device) {
  if (all.devices.empty())
    throw Error(Code::kNotSupported, "device: " + std::to_string(device) + ", but " + all.reason);
  if (device < 0 || size_t(device) >= all.devices.size())
    throw Error(Code::kInvalidArgument,
                "device: " + std::to_string(device) + ", but must be 0 to " + std::to_string(all.devices.size() - 1));
  return all.devices[size_t(device)];
}

}  // namespace

WayChoice choose_way(int device, bool one_process) {
  const Devices all = find_devices();
  const DeviceInfo& info = chosen(all, device);
  if (info.vmm_by_fd) return {MemoryWay::kVmm, "the device passes its memory as file descriptors"};
  if (info.ipc && !one_process) return {MemoryWay::kIpc, "the device cannot pass its memory as file descriptors"};
  if (one_process) return {MemoryWay::kPlain, "no VMM file descriptors here, and all ranks are in one process"};
  throw Error(Code::kNotSupported, "device: " + std::to_string(device) + " (" + info.uuid +
                                       ") can pass its memory neither as file descriptors nor as CUDA IPC handles: "
                                       "its ranks must be threads of one process");
}

DeviceRegion::DeviceRegion(int device, size_t bytes, MemoryWay way) : device_(device), way_(way), all_(find_devices()) {
  const DeviceInfo& info = chosen(all_, device);
  if (bytes == 0) throw Error(Code::kInvalidArgument, "device region: 0 bytes, but must be at least 1");
  if (way == MemoryWay::kVmm && !info.vmm_by_fd)
    throw Error(Code::kNotSupported, "device region: way vmm, but device " + std::to_string(device) + " (" + info.uuid +
                                         ") cannot pass its memory as file descriptors");
  backing_ = way == MemoryWay::kVmm   ? make_vmm(device, bytes)
             : way == MemoryWay::kIpc ? make_ipc(device, bytes)
                                      : make_plain(device, bytes);
  base_ = backing_->base();
  bytes_ = bytes;
}

DeviceRegion::~DeviceRegion() = default;

DeviceOffer DeviceRegion::offer(uint32_t rank) const {
  return {.rank = rank,
          .way = way_,
          .device = uint32_t(device_),
          .uuid = chosen(all_, device_).uuid,
          .handle = backing_->handle()};
}

std::string DeviceRegion::handle() const { return offer(0).pack(); }

int DeviceRegion::fd() const { return backing_->fd(); }

void DeviceRegion::close_fd() { backing_->close_fd(); }

void DeviceRegion::check(uint32_t rank, const PeerRegion& peer, bool same_process) const {
  check_reach(all_, offer(rank), DeviceOffer::unpack(peer), same_process);
}

std::shared_ptr<Region> DeviceRegion::map(const PeerRegion& peer, Descriptor fd) const {
  const DeviceOffer theirs = DeviceOffer::unpack(peer);
  std::shared_ptr<DeviceRegion> region(new DeviceRegion);
  region->device_ = device_;
  region->way_ = theirs.way;
  try {
    if (theirs.way == MemoryWay::kVmm)
      region->backing_ = map_vmm(device_, peer.bytes, theirs.handle, std::move(fd));
    else if (theirs.way == MemoryWay::kIpc)
      region->backing_ = map_ipc(device_, peer.bytes, theirs.handle, std::move(fd));
  } catch (const Error& error) {
    throw Error(error.code(), unreachable(all_, device_, theirs, error.what()));
  }
  if (region->backing_ == nullptr) return nullptr;
  region->base_ = region->backing_->base();
  region->bytes_ = peer.bytes;
  return region;
}

void DeviceRegion::reach(const Region& theirs) const {
  const auto* const region = dynamic_cast<const DeviceRegion*>(&theirs);
  if (region == nullptr) throw Error(Code::kInvalidArgument, "group: host memory where device memory was offered");
  if (region->device_ != device_) region->backing_->reach_from(device_);
}

}  // namespace transload
