// Who shares a GPU. Blocks of ranks on one device wait for each other, so all of them have to be there at once.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "os/host.h"

namespace transload {

// What a rank says of its device, to be gathered.
struct DeviceUse {
  std::string uuid;         // UUID of the device, the same in every process
  uint32_t sms = 0;         // SMs that a kernel of this rank takes
  uint32_t device_sms = 0;  // SMs that the device has
  bool mps = false;         // MPS runs on the device: kernels of several processes run at once
  ProcessIdentity process;
  uint64_t group = 0;   // a random number; rank 0's names the group in every process
  uint32_t queues = 0;  // hardware queues over which the device spreads the streams of this process

  std::string pack() const;
  static DeviceUse unpack(std::string_view text);
};

// `uses`: of all ranks of a group, by rank. Throws Error{kInvalidArgument}, on every rank alike, if ranks of one device
// cannot run at once.
void check_device_uses(const std::vector<DeviceUse>& uses);

// SMs and queues of a device that a group of this process has taken, as long as any of its ranks here keeps its
// reservation. All that might run at once has to fit. Groups whose calls follow each other on one stream could share
// more, but nothing promises that they do, and kernels that each hold a part of the device and wait for the rest of it
// end only at a deadline.
class DeviceReservation {
 public:
  DeviceReservation() = default;
  // `mine` is one of `uses`. Throws Error{kInvalidArgument} if other groups of this process hold too many. A rank takes
  // one queue at least: a launch waits for what is before it in its queue, and that may be a kernel which waits for it.
  DeviceReservation(const std::vector<DeviceUse>& uses, const DeviceUse& mine);
  ~DeviceReservation() { release(); }
  DeviceReservation(DeviceReservation&& other) noexcept { *this = static_cast<DeviceReservation&&>(other); }
  DeviceReservation& operator=(DeviceReservation&& other) noexcept;

  void release();

 private:
  std::string uuid_;
  uint64_t group_ = 0;  // 0: nothing is reserved
};

}  // namespace transload
