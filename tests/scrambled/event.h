// Something that another thread may wait for, with a descriptor.
#pragma once
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace scrambled {

class Event {
 public:
  Event() : descriptor_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Event() { ::close(descriptor_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  int descriptor() const { return descriptor_; }
  void ring() { [[maybe_unused]] const int done = ::eventfd_write(descriptor_, 1); }
  void clear() {
    eventfd_t rings;
    [[maybe_unused]] const int done = ::eventfd_read(descriptor_, &rings);
  }

 private:
  const int descriptor_;
};

}  // namespace scrambled
