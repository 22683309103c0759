// A file descriptor with one owner. Copies of the process (fork) do not have it.
#pragma once
#include <unistd.h>

#include <utility>

#include "os/fork.h"

namespace transload {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) { reset(fd); }
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1) {
    if (fd_ >= 0 && keep_in_copies(fd_)) ::close(fd_);
    fd_ = fd;
    if (fd_ >= 0) close_in_copies(fd_);
  }
  // Gives the descriptor away; copies of the process keep it from now on, too. Returns -1 in a copy, which has closed
  // it.
  int release() {
    const bool mine = fd_ >= 0 && keep_in_copies(fd_);
    const int fd = std::exchange(fd_, -1);
    return mine ? fd : -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace transload
