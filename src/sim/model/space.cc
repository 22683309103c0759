// Mapping and clearing a world's memory, and the cells that keep account of it.
#include "sim/model/space.h"

#include <sys/mman.h>
#include <transload/status.h>

#include <cstring>
#include <string>

namespace transload {
namespace {

// Above this size giving the pages back costs less than clearing them.
constexpr size_t kClearMax = 4 << 20;

void* reserve(size_t bytes) {
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    throw Error(Code::kOutOfMemory, "a world's memory needs " + std::to_string(bytes) + " bytes of address space");
  return at;
}

}  // namespace

Space::Space(uint32_t regions, size_t stride) { map(regions, stride); }
Space::~Space() { unmap(); }

void Space::map(uint32_t regions, size_t stride) {
  bytes_ = regions * stride;
  stride_ = stride;
  base_ = static_cast<char*>(reserve(bytes_));
  cells_ = static_cast<Cell*>(reserve(bytes_ / kCellBytes * sizeof(Cell)));
}

void Space::unmap() {
  munmap(base_, bytes_);
  munmap(cells_, bytes_ / kCellBytes * sizeof(Cell));
}

void Space::reset(uint32_t regions, size_t stride, size_t used) {
  if (regions * stride != bytes_ || used > kClearMax) {
    unmap();
    map(regions, stride);
    return;
  }
  stride_ = stride;
  std::memset(base_, 0, bytes_);
  std::memset(cells_, 0, bytes_ / kCellBytes * sizeof(Cell));
}

}  // namespace transload
