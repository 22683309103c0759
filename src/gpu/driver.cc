// Looking up the driver's calls.
#include "gpu/driver.h"

#include <cuda_runtime_api.h>

#include <exception>
#include <map>
#include <mutex>
#include <string>

#include "gpu/cuda_error.h"
#include "gpu/device_info.h"

namespace transload {

namespace {

constexpr unsigned kDriverVersion = 12000;  // the function types are those of this version

template <class Call>
void find(Call*& call, const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, kDriverVersion, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess || found == nullptr) {
    (void)cudaGetLastError();
    throw Error(Code::kNotSupported, std::string("CUDA driver: it has no ") + name + " of version 12.0");
  }
  call = reinterpret_cast<Call*>(found);
}

Driver load() {
  refuse_without_device();  // this also starts the driver
  Driver calls;
  find(calls.get_error_string, "cuGetErrorString");
  find(calls.get_error_name, "cuGetErrorName");
  find(calls.device_get, "cuDeviceGet");
  find(calls.device_get_attribute, "cuDeviceGetAttribute");
  find(calls.primary_retain, "cuDevicePrimaryCtxRetain");
  find(calls.push, "cuCtxPushCurrent");
  find(calls.pop, "cuCtxPopCurrent");
  find(calls.granularity, "cuMemGetAllocationGranularity");
  find(calls.create, "cuMemCreate");
  find(calls.release, "cuMemRelease");
  find(calls.export_handle, "cuMemExportToShareableHandle");
  find(calls.import_handle, "cuMemImportFromShareableHandle");
  find(calls.reserve, "cuMemAddressReserve");
  find(calls.address_free, "cuMemAddressFree");
  find(calls.map, "cuMemMap");
  find(calls.unmap, "cuMemUnmap");
  find(calls.set_access, "cuMemSetAccess");
  find(calls.range_handle, "cuMemGetHandleForAddressRange");
  find(calls.module_of, "cuFuncGetModule");
  find(calls.global_of, "cuModuleGetGlobal");
  return calls;
}

// The context of a device that the CUDA runtime uses too. The process keeps it until it ends.
CUcontext primary_context(int device) {
  static std::mutex mutex;
  static std::map<int, CUcontext>& contexts = *new std::map<int, CUcontext>;
  std::lock_guard lock(mutex);
  const auto found = contexts.find(device);
  if (found != contexts.end()) return found->second;
  const int count = device_count();
  if (device < 0 || device >= count)
    throw Error(Code::kInvalidArgument,
                "device: " + std::to_string(device) + ", but must be 0 to " + std::to_string(count - 1));
  CUdevice handle = 0;
  check_cuda(driver().device_get(&handle, device), "cuDeviceGet", device);
  CUcontext context = nullptr;
  check_cuda(driver().primary_retain(&context, handle), "cuDevicePrimaryCtxRetain", device);
  return contexts[device] = context;
}

}  // namespace

const Driver& driver() {
  static const Driver calls = load();  // if load() throws, the next call tries again
  return calls;
}

CUmodule module_of(const void* kernel, int device) {
  cudaFunction_t function = nullptr;
  check_cuda(cudaGetFuncBySymbol(&function, kernel), "cudaGetFuncBySymbol", device);
  CUmodule module = nullptr;
  check_cuda(driver().module_of(&module, function), "cuFuncGetModule", device);
  return module;
}

OnDevice::OnDevice(int device) {
  const Driver& calls = driver();
  check_cuda(calls.push(primary_context(device)), "cuCtxPushCurrent", device);
  pushed_ = true;
}

OnDevice::OnDevice(int device, std::nothrow_t) noexcept {
  try {
    pushed_ = driver().push(primary_context(device)) == CUDA_SUCCESS;
  } catch (const std::exception&) {
  }
}

OnDevice::~OnDevice() {
  if (!pushed_) return;
  CUcontext popped = nullptr;
  driver().pop(&popped);
}

}  // namespace transload
