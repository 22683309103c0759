// Memory at addresses that this process may not touch, like a GPU's, with a second mapping of the same bytes that it
// may touch. The scrambled fabric takes it for a GPU's memory. A link that touched it by itself would end the process.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

#include "os/descriptor.h"

namespace transload::test {

class HiddenMemory {
 public:
  // `before`: bytes of the file in front of the memory; whole pages.
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
  char* at() const { return at_; }      // addresses that may not be touched
  char* view() const { return view_; }  // addresses of the same bytes that may be
  size_t bytes() const { return bytes_; }
  int file() const { return file_.get(); }  // stands for a dma-buf; the memory begins at before()
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
