// What a rank tells of its device memory, and whether two of them can share it. Arithmetic only, no CUDA.
#pragma once
#include <cstdint>
#include <string>

#include "gpu/device_info.h"
#include "transport/scaleup/region.h"

namespace transload {

// How others reach the device memory of a rank. Ranks of one process use plain pointers whatever the way.
enum class MemoryWay : uint8_t {
  kVmm,    // handles are passed as file descriptors
  kIpc,    // CUDA IPC handles
  kPlain,  // other processes do not reach the memory
  kCount
};
const char* name_of(MemoryWay way);  // "vmm", "ipc", "plain"

struct DeviceOffer {
  uint32_t rank = 0;  // left out of the packed bytes
  MemoryWay way = MemoryWay::kPlain;
  uint32_t device = 0;  // number of the device in the rank's process
  std::string uuid;
  std::string handle;  // DeviceBacking::handle

  std::string pack() const;
  // Throws Error{kInvalidArgument} naming the rank if the bytes are no offer.
  static DeviceOffer unpack(const PeerRegion& peer);
  std::string to_string() const;  // such as "device 1 (GPU-...) of rank 3"
};

// The message for memory of `theirs` that cannot be mapped for my device. It names both devices, and says whether this
// process sees theirs at all.
std::string unreachable(const Devices& all, int device, const DeviceOffer& theirs, const std::string& why);

// Throws Error{kNotSupported} that names both devices, the same on both sides, if memory of this way cannot be shared
// by two processes or `all` (what my process sees) says that the devices have no peer access. A device that is hidden
// from my process is left to the mapping.
void check_reach(const Devices& all, const DeviceOffer& mine, const DeviceOffer& theirs, bool same_process);

}  // namespace transload
