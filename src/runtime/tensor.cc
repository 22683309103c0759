// Tensors of callers: how long they are, and views of other libraries' ones.
#include "transload/tensor.h"

#include <string>

#include "base/math.h"
#include "transload/status.h"

namespace transload {

size_t Tensor::row_bytes() const {
  const uint64_t bits = times(uint64_t(columns()), uint64_t(dtype.bits) * dtype.lanes);
  return bits == kTooLarge ? bits : bits / 8 + (bits % 8 != 0);
}

size_t Tensor::bytes() const { return times(uint64_t(rows()), row_bytes()); }

Tensor tensor_from(const DLTensor& other) {
  if (other.ndim != 1 && other.ndim != 2)
    throw Error(Code::kInvalidArgument, "DLTensor.ndim: " + std::to_string(other.ndim) + ", must be 1 or 2");
  Tensor t;
  t.data = static_cast<char*>(other.data) + other.byte_offset;
  t.device = other.device;
  t.dtype = other.dtype;
  t.ndim = other.ndim;
  for (int i = 0; i < 2; ++i) t.shape[i] = i < other.ndim ? other.shape[i] : 1;
  for (int i = 0; i < 2; ++i) {
    const int64_t contiguous = i == 0 ? t.shape[1] : 1;
    t.strides[i] = i < other.ndim && other.strides ? other.strides[i] : contiguous;
  }
  return t;
}

}  // namespace transload
