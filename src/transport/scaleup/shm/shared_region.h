// Memory that one rank's peers may map: a sealed memfd. It has no name, and goes with the last process that maps it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "os/descriptor.h"
#include "transport/scaleup/region.h"

namespace transload {

class SharedRegion final : public Region {
 public:
  // Makes my own: zeros, of which no page is touched. Throws Error{kOutOfMemory} if the machine has no room for it.
  explicit SharedRegion(size_t bytes);
  // Maps a peer's, by the descriptor that it passed. Null unless that is a region of exactly `bytes` bytes that can
  // never shrink.
  static std::shared_ptr<SharedRegion> from_peer(Descriptor fd, size_t bytes);
  ~SharedRegion() override;

  const char* kind() const override { return "host memory"; }
  int fd() const override { return fd_.get(); }
  void close_fd() override { fd_.reset(); }
  std::shared_ptr<Region> map(const PeerRegion& peer, Descriptor fd) const override;

 private:
  SharedRegion() = default;
  void map_whole();

  Descriptor fd_;
};

}  // namespace transload
