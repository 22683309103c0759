// Memory that lies at addresses which this process may not touch, as a GPU's does, and beside it the same bytes where
// it may. The scrambled fabric takes it for a GPU's; a link that touched it by itself would end the process.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

#include "os/descriptor.h"

namespace transload::test {

class HiddenMemory {
 public:
  // `before`: bytes of the file in front of it; whole pages.
  explicit HiddenMemory(size_t bytes, size_t before = 0)
      : bytes_(bytes), before_(before), file_(memfd_create("hidden", MFD_CLOEXEC)) {
    if (ftruncate(file_.get(), off_t(before + bytes)) != 0) return;
    at_ = map(PROT_NONE);
    view_ = map(PROT_READ | PROT_WRITE);
  }
  ~HiddenMemory() {
    for (char* const mapped : {at_, view_})
      if (mapped != nullptr) munmap(mapped, bytes_);
  }
  HiddenMemory(const HiddenMemory&) = delete;
  HiddenMemory& operator=(const HiddenMemory&) = delete;

  bool there() const { return at_ != nullptr && view_ != nullptr; }
  char* at() const { return at_; }      // where nobody here may touch it
  char* view() const { return view_; }  // its bytes
  size_t bytes() const { return bytes_; }
  int file() const { return file_.get(); }  // as a dma-buf; it begins at before()
  size_t before() const { return before_; }

 private:
  char* map(int how) const {
    void* const mapped = mmap(nullptr, bytes_, how, MAP_SHARED, file_.get(), off_t(before_));
    return mapped == MAP_FAILED ? nullptr : static_cast<char*>(mapped);
  }

  size_t bytes_, before_;
  Descriptor file_;
  char *at_ = nullptr, *view_ = nullptr;
};

}  // namespace transload::test
