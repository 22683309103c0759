// Which GPUs this process sees, and what they can do. No CUDA in this header: builds without CUDA answer too.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace transload {

struct DeviceInfo {
  int device = 0;  // the device's number in this process
  std::string name;
  std::string uuid;  // GPU-...: the same in every process
  int major = 0, minor = 0;
  uint32_t sms = 0;
  uint64_t memory_bytes = 0;
  uint64_t shared_bytes_max = 0;  // shared memory that a block can get if it asks for more than the default
  bool vmm_by_fd = false;         // the device's memory can be passed to other processes as a file descriptor
  bool ipc = false;               // the device's memory can be passed to other processes as a CUDA IPC handle
  bool mps = false;               // this process uses MPS, which lets kernels of several processes run at once
  std::string pci;                // domain:bus:device.function, as /sys names it
  bool gpu_direct = false;        // a NIC can read and write the device's memory past the host
  bool writes_in_order = false;   // kernels see the writes of a NIC in the order in which they were made
  bool dma_buf = false;           // the device's memory can be passed as a dma-buf
};

struct Devices {
  std::string reason;       // why there is no device; "" if there is one
  int driver_version = 0;   // 13000 for 13.0; 0: no driver
  int runtime_version = 0;  // 0: built without CUDA
  std::vector<DeviceInfo> devices;
  std::vector<std::vector<bool>> peer;  // [device][device]: the first can reach the memory of the second
};

// A machine without a driver or a GPU is an answer, not an error. find_devices() makes no context on any device.
Devices find_devices();

// How many devices find_devices() finds; 0 for whatever reason.
int device_count();

// How many queues of a device's hardware the streams of this process share: CUDA_DEVICE_MAX_CONNECTIONS, or CUDA's
// default.
uint32_t device_queues();
constexpr uint32_t kDeviceQueuesMax = 32;

// Throws Error{kNotSupported} with find_devices().reason.
void refuse_without_device();

}  // namespace transload
