// What DLPack 1.x has and older headers lack: the capsule of a tensor with a version and flags.
#pragma once
#include <dlpack/dlpack.h>

#include <cstdint>

namespace transload::python {

constexpr uint64_t kReadOnlyFlag = 1;
constexpr uint32_t kDlpackMajor = 1;

// Structures of DLPack. A capsule whose name is kCapsule holds one.
struct VersionedTensor {
  static constexpr const char* kCapsule = "dltensor_versioned";
  static constexpr const char* kUsedCapsule = "used_dltensor_versioned";
  uint32_t major, minor;
  void* context;
  void (*deleter)(VersionedTensor*);
  uint64_t flags;
  DLTensor tensor;
};
struct UnversionedTensor {
  static constexpr const char* kCapsule = "dltensor";
  static constexpr const char* kUsedCapsule = "used_dltensor";
  DLTensor tensor;
  void* context;
  void (*deleter)(UnversionedTensor*);
};
// Functions of a library for arrays of one of its types; each gives 0, or sets Python's exception.
struct ExchangeTable {
  static constexpr const char* kCapsule = "dlpack_exchange_api";
  uint32_t major, minor;
  const ExchangeTable* older;  // of another major version
  int (*allocate)(DLTensor* prototype, VersionedTensor** out, void* context,
                  void (*set_error)(void* context, const char* kind, const char* message));
  int (*share)(void* array, VersionedTensor** out);
  int (*take)(VersionedTensor* tensor, void** array);  // the tensor is the array's then
  int (*show)(void* array, DLTensor* out);             // as long as the array is left alone; may be null
  int (*current_stream)(DLDeviceType type, int32_t device, void** out);
};

}  // namespace transload::python
