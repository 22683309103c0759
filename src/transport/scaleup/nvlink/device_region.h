// GPU memory of one rank that its peers map. No CUDA in this header.
//
// The first of three ways that serves is chosen: VMM handles passed as file descriptors; CUDA IPC handles; plain
// pointers, if all ranks are threads of one process. Ranks of one process use plain pointers whatever the way.
//
// Local   zeros when made; other streams and kernels see nothing of the making.
// Remote  a mapping serves kernels and copies on the device of the rank that mapped it, and keeps the pages alive
//         after their owner has dropped them, has ended or was killed. Nothing is collective: each side drops its own
//         when it likes.
// Owner   whoever drops a region, own or mapped, has drained its own kernels that touch it before: unmapping under a
//         running kernel loses the context (VMM) or waits for the kernel (IPC, plain). A lost rank's last stores may
//         land until its pidfd says that it is gone, a silent one's at any time.
// Fails   with an Error that names rank, device and call; nothing stays mapped or allocated.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "gpu/device_info.h"
#include "transport/scaleup/nvlink/device_offer.h"
#include "transport/scaleup/region.h"

namespace transload {

struct WayChoice {
  MemoryWay way = MemoryWay::kPlain;
  std::string reason;
};
// Throws Error{kNotSupported} if no way serves ranks in several processes, or there is no GPU.
WayChoice choose_way(int device, bool one_process);

class DeviceBacking;

class DeviceRegion final : public Region {
 public:
  // Makes my own. Throws Error{kOutOfMemory} with wanted and free bytes, {kNotSupported} if there is no GPU.
  DeviceRegion(int device, size_t bytes, MemoryWay way);
  ~DeviceRegion() override;

  int device() const { return device_; }
  MemoryWay way() const { return way_; }

  const char* kind() const override { return "device memory"; }
  std::string handle() const override;
  int fd() const override;
  void close_fd() override;
  // Throws if the two devices have no peer access, or for plain memory and two processes. Names both devices.
  void check(uint32_t rank, const PeerRegion& peer, bool same_process) const override;
  std::shared_ptr<Region> map(const PeerRegion& peer, Descriptor fd) const override;
  void reach(const Region& theirs) const override;
  uint64_t scope() const override { return uint64_t(device_) + 1; }

 private:
  DeviceRegion() = default;  // map() makes one for a peer's memory
  DeviceOffer offer(uint32_t rank) const;

  int device_ = -1;
  MemoryWay way_ = MemoryWay::kPlain;
  Devices all_;  // devices that this process saw when the region was made; empty for a peer's
  std::unique_ptr<DeviceBacking> backing_;
};

}  // namespace transload
