// What a warp of a GPU keeps for its lanes and members: in registers, and in near memory.
#pragma once
#include <cstdint>

#include "base/set.h"
#include "executor/cuda/ptx.cuh"

namespace transload {

// A value of each lane.
template <class T>
struct CudaPer {
  T mine{};
  TRANSLOAD_DEVICE T& operator[](Lane) { return mine; }
  TRANSLOAD_DEVICE const T& operator[](Lane) const { return mine; }
};

// A value of each member, in near memory. A table that is destroyed gives its memory back, if it was the last one
// taken. It can be moved and not copied.
template <class T>
class CudaTable {
 public:
  TRANSLOAD_DEVICE CudaTable(T* values, uint32_t* used, uint32_t begin, uint32_t end)
      : values_(values), used_(used), begin_(begin), end_(end) {}
  TRANSLOAD_DEVICE CudaTable(CudaTable&& other) noexcept
      : values_(other.values_), used_(other.used_), begin_(other.begin_), end_(other.end_) {
    other.used_ = nullptr;
  }
  CudaTable& operator=(CudaTable&&) = delete;
  TRANSLOAD_DEVICE ~CudaTable() {
    if (used_ != nullptr && *used_ == end_) *used_ = begin_;
  }
  TRANSLOAD_DEVICE T& operator[](Lane lane) { return values_[lane.i]; }
  TRANSLOAD_DEVICE const T& operator[](Lane lane) const { return values_[lane.i]; }
  TRANSLOAD_DEVICE T& operator[](int member) { return values_[member]; }
  TRANSLOAD_DEVICE const T& operator[](int member) const { return values_[member]; }

 private:
  T* values_;
  uint32_t* used_;
  uint32_t begin_, end_;
};

}  // namespace transload
