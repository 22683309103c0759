// A view of a caller's tensor, in DLPack's types.
#pragma once
#include <dlpack/dlpack.h>

#include <cstddef>
#include <cstdint>

namespace transload {

// Type codes of DLPack 1.x that older headers lack.
constexpr uint8_t kDLBoolCode = 6;
constexpr uint8_t kDLFloat8E4m3fnCode = 10;
constexpr uint8_t kDLFloat8E8m0fnuCode = 14;

constexpr DLDataType kBf16{kDLBfloat, 16, 1};
constexpr DLDataType kF32{kDLFloat, 32, 1};
constexpr DLDataType kI32{kDLInt, 32, 1};
constexpr DLDataType kI64{kDLInt, 64, 1};
constexpr DLDataType kU8{kDLUInt, 8, 1};
constexpr DLDataType kBool{kDLBoolCode, 8, 1};
constexpr DLDataType kF8E4m3{kDLFloat8E4m3fnCode, 8, 1};

// Says whether all three fields are equal.
constexpr bool same_type(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

// A view, which owns nothing. Strides are in elements. A default-made Tensor means "not given".
struct Tensor {
  void* data = nullptr;
  DLDevice device{kDLCPU, 0};
  DLDataType dtype{kDLUInt, 8, 1};
  int32_t ndim = 0;
  int64_t shape[2] = {0, 0};
  int64_t strides[2] = {0, 0};

  bool given() const { return ndim != 0; }
  int64_t rows() const { return shape[0]; }
  int64_t columns() const { return ndim > 1 ? shape[1] : 1; }
  // Elements of fewer than 8 bits are packed, so only a whole row has whole bytes. A size that does not fit is
  // SIZE_MAX.
  size_t row_bytes() const;
  size_t bytes() const;
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Returns a contiguous [rows, columns] view of memory, on a GPU if `device` says so.
inline Tensor matrix(const void* data, int64_t rows, int64_t columns, DLDataType dtype, DLDevice device = {kDLCPU, 0}) {
  return {.data = const_cast<void*>(data),
          .device = device,
          .dtype = dtype,
          .ndim = 2,
          .shape = {rows, columns},
          .strides = {columns, 1}};
}

// Returns a contiguous [count] view of memory, on a GPU if `device` says so.
inline Tensor list(const void* data, int64_t count, DLDataType dtype, DLDevice device = {kDLCPU, 0}) {
  return {.data = const_cast<void*>(data),
          .device = device,
          .dtype = dtype,
          .ndim = 1,
          .shape = {count, 0},
          .strides = {1, 0}};
}

// Returns the view that another library's DLPack tensor describes. Throws Error{kInvalidArgument} if the tensor does
// not have one or two dimensions.
Tensor tensor_from(const DLTensor& other);

}  // namespace transload
