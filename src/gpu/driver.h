// The driver's own calls, found at run time: nothing of ours is linked with libcuda, and a machine without it can load
// us. Also the device that a scope runs on.
#pragma once
#include <cuda.h>

#include <new>

namespace transload {

struct Driver {
  decltype(&::cuGetErrorString) get_error_string = nullptr;
  decltype(&::cuGetErrorName) get_error_name = nullptr;
  decltype(&::cuDeviceGet) device_get = nullptr;
  decltype(&::cuDeviceGetAttribute) device_get_attribute = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) primary_retain = nullptr;
  decltype(&::cuCtxPushCurrent) push = nullptr;
  decltype(&::cuCtxPopCurrent) pop = nullptr;
  decltype(&::cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&::cuMemCreate) create = nullptr;
  decltype(&::cuMemRelease) release = nullptr;
  decltype(&::cuMemExportToShareableHandle) export_handle = nullptr;
  decltype(&::cuMemImportFromShareableHandle) import_handle = nullptr;
  decltype(&::cuMemAddressReserve) reserve = nullptr;
  decltype(&::cuMemAddressFree) address_free = nullptr;
  decltype(&::cuMemMap) map = nullptr;
  decltype(&::cuMemUnmap) unmap = nullptr;
  decltype(&::cuMemSetAccess) set_access = nullptr;
  decltype(&::cuMemGetHandleForAddressRange) range_handle = nullptr;
  decltype(&::cuFuncGetModule) module_of = nullptr;
  decltype(&::cuModuleGetGlobal) global_of = nullptr;
};

// Throws Error{kNotSupported} if there is no driver or no GPU, naming the reason, or a call that the driver lacks.
const Driver& driver();

// The module of a kernel, which CUDA's runtime knows by its symbol, on `device`, which must be current.
CUmodule module_of(const void* kernel, int device);

// Makes a device current for a scope. Afterwards the one that was current before is so again, or none is: a rank leaves
// no context on a device that is not its own.
class OnDevice {
 public:
  // Throws Error{kInvalidArgument} if there is no such device.
  explicit OnDevice(int device);
  // This one is for destructors: the object is false if the device could not be made current.
  OnDevice(int device, std::nothrow_t) noexcept;
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  explicit operator bool() const { return pushed_; }

 private:
  bool pushed_ = false;
};

}  // namespace transload
