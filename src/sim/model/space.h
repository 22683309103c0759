// The shared memory of a world: all regions in one range of addresses, and for each 4 bytes what is known of them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/word.h"

namespace transload {

constexpr size_t kCellBytes = 4;  // two rows of scales may meet in the middle of 8 bytes

struct Cell {
  uint32_t landed;   // number of the last flight that wrote the cell; 0: none
  uint32_t writer;   // a flight that is on its way to the cell; 0: none
  uint32_t by;       // the writer, in the terms of Flights::kWho
  uint32_t readers;  // flights that have still to read the cell
};

// The value is copied out bytewise, because bytes of any type may land where words lie.
inline Word word_at(const Word* word) {
  Word value;
  std::memcpy(&value, word, sizeof value);
  return value;
}

class Space {
 public:
  // `regions` of `stride` bytes each, a multiple of a page. Throws Error{kOutOfMemory}.
  Space(uint32_t regions, size_t stride);
  ~Space();
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  // Makes all bytes unwritten again. The mapping stays if its size fits and `used` bytes are cheap to clear.
  void reset(uint32_t regions, size_t stride, size_t used);

  char* region(uint32_t i) const { return base_ + i * stride_; }
  size_t stride() const { return stride_; }
  bool holds(const void* at) const { return size_t(static_cast<const char*>(at) - base_) < bytes_; }
  uint32_t region_of(const void* at) const { return uint32_t(offset(at) / stride_); }
  uint64_t offset(const void* at) const { return uint64_t(static_cast<const char*>(at) - base_); }
  char* at(uint64_t offset) const { return base_ + offset; }
  Cell* cell(const void* at) const { return cells_ + offset(at) / kCellBytes; }
  // How many cells these bytes touch.
  static size_t cells(const void* at, size_t bytes) {
    const size_t begin = reinterpret_cast<uintptr_t>(at) % kCellBytes;
    return bytes == 0 ? 0 : (begin + bytes + kCellBytes - 1) / kCellBytes;
  }

 private:
  void map(uint32_t regions, size_t stride);
  void unmap();

  char* base_ = nullptr;
  Cell* cells_ = nullptr;
  size_t bytes_ = 0, stride_ = 0;
};

}  // namespace transload
