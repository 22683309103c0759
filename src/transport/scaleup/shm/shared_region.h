// Memory of one rank that its peers may map: a sealed memfd. No name, and gone with the last process that maps it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/descriptor.h"

namespace transload {

class SharedRegion {
 public:
  // My own: zeros, no page touched. Throws Error{kOutOfMemory} if the machine has no room for it.
  explicit SharedRegion(size_t bytes);
  // A peer's, by the descriptor that it passed. Null if that is no region of exactly so many bytes that can never
  // shrink.
  static std::shared_ptr<SharedRegion> from_peer(Descriptor fd, size_t bytes);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  char* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }
  // The mapping stays; nobody can be given it any more.
  void close_fd() { fd_.reset(); }

 private:
  SharedRegion() = default;
  void map();

  Descriptor fd_;
  char* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace transload
