// Asking CUDA what there is.
#include "gpu/device_info.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "transload/status.h"

#ifdef TRANSLOAD_CUDA
#include <cuda_runtime_api.h>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#endif

namespace transload {

uint32_t device_queues() {
  constexpr uint32_t kDefault = 8;
  const char* const set = std::getenv("CUDA_DEVICE_MAX_CONNECTIONS");
  if (set == nullptr) return kDefault;
  const std::string_view text(set);
  uint32_t queues = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), queues).ec != std::errc() || queues == 0) return kDefault;
  return std::min(queues, kDeviceQueuesMax);
}

#ifdef TRANSLOAD_CUDA
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The driver's and the runtime's versions, the number of devices, and the reason if that is 0.
Devices start(int& count) {
  Devices found;
  count = 0;
  if (cudaDriverGetVersion(&found.driver_version) != cudaSuccess) found.driver_version = 0;
  if (cudaRuntimeGetVersion(&found.runtime_version) != cudaSuccess) found.runtime_version = CUDART_VERSION;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) count = 0;
  (void)cudaGetLastError();
  if (count > 0) return found;
  if (found.driver_version == 0)
    found.reason = "no GPU: this machine has no CUDA driver (libcuda.so.1)";
  else if (error == cudaErrorInsufficientDriver)
    found.reason = "no GPU: the driver is for CUDA " + version_text(found.driver_version) + ", older than CUDA " +
                   version_text(found.runtime_version) + " of this build";
  else if (error == cudaErrorNoDevice || error == cudaSuccess)
    found.reason = "no GPU: the CUDA driver sees none (is CUDA_VISIBLE_DEVICES set?)";
  else
    found.reason =
        std::string("no GPU: cudaGetDeviceCount: ") + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
  return found;
}

std::string uuid_text(const cudaUUID_t& uuid) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const unsigned char byte = static_cast<unsigned char>(uuid.bytes[i]);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

int value_of(int device, CUdevice_attribute attribute) {
  CUdevice handle = 0;
  int value = 0;
  check_cuda(driver().device_get(&handle, device), "cuDeviceGet", device);
  check_cuda(driver().device_get_attribute(&value, attribute, handle), "cuDeviceGetAttribute", device);
  return value;
}

bool has(int device, CUdevice_attribute attribute) { return value_of(device, attribute) != 0; }

std::string pci_text(const cudaDeviceProp& of) {
  char text[sizeof("0000:00:00.0") + 8];
  std::snprintf(text, sizeof(text), "%04x:%02x:%02x.0", unsigned(of.pciDomainID), unsigned(of.pciBusID) & 0xff,
                unsigned(of.pciDeviceID) & 0x1f);
  return text;
}

DeviceInfo describe(int device) {
  cudaDeviceProp of{};
  check_cuda(cudaGetDeviceProperties(&of, device), "cudaGetDeviceProperties", device);
  DeviceInfo info;
  info.device = device;
  info.name = of.name;
  info.uuid = uuid_text(of.uuid);
  info.major = of.major;
  info.minor = of.minor;
  info.sms = uint32_t(of.multiProcessorCount);
  info.memory_bytes = of.totalGlobalMem;
  info.shared_bytes_max = of.sharedMemPerBlockOptin;
  info.vmm_by_fd = has(device, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) &&
                   has(device, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
  info.ipc = has(device, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED);
  info.mps = has(device, CU_DEVICE_ATTRIBUTE_MPS_ENABLED);
  info.pci = pci_text(of);
  info.gpu_direct = has(device, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED) &&
                    (!info.vmm_by_fd || has(device, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED));
  info.writes_in_order = value_of(device, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING) >=
                         int(CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER);
  info.dma_buf = has(device, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED);
  return info;
}

}  // namespace

Devices find_devices() {
  int count = 0;
  Devices found = start(count);
  found.peer.assign(size_t(count), std::vector<bool>(size_t(count), true));
  for (int a = 0; a < count; ++a) {
    found.devices.push_back(describe(a));
    for (int b = 0; b < count; ++b) {
      int reaches = 1;
      if (a != b) check_cuda(cudaDeviceCanAccessPeer(&reaches, a, b), "cudaDeviceCanAccessPeer", a);
      found.peer[size_t(a)][size_t(b)] = reaches != 0;
    }
  }
  return found;
}

int device_count() {
  int count = 0;
  start(count);
  return count;
}

void refuse_without_device() {
  int count = 0;
  const Devices found = start(count);
  if (count == 0) throw Error(Code::kNotSupported, found.reason);
}

#else

Devices find_devices() {
  Devices none;
  none.reason = "no GPU: this build has no CUDA (TRANSLOAD_CUDA)";
  return none;
}

int device_count() { return 0; }

void refuse_without_device() { throw Error(Code::kNotSupported, find_devices().reason); }

#endif

}  // namespace transload
