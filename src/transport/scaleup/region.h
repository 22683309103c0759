// Memory of one rank that its peers map: what the exchange between ranks asks of it, whatever memory it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "os/descriptor.h"

namespace transload {

// A peer's region as the peer offers it: not to be trusted.
struct PeerRegion {
  uint32_t rank = 0;
  uint64_t bytes = 0;
  std::string_view handle;  // Region::handle() in the peer's process
};

class Region {
 public:
  virtual ~Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  char* base() const { return base_; }
  size_t bytes() const { return bytes_; }

  // Ranks map only regions of their own kind.
  virtual const char* kind() const = 0;
  // What a peer must know beside the descriptor, to be gathered with the offer.
  virtual std::string handle() const { return {}; }
  // The descriptor that processes are passed to map it by; -1: there is none.
  virtual int fd() const = 0;
  // Closes that descriptor. The mapping stays, but no further process can be given it.
  virtual void close_fd() = 0;

  // Throws why I, rank `rank`, and the peer cannot share memory, if so; both throw the same. Maps nothing.
  virtual void check([[maybe_unused]] uint32_t rank, [[maybe_unused]] const PeerRegion& peer,
                     [[maybe_unused]] bool same_process) const {}
  // Maps a region of another process for me. Null if what that process passed is not what it offered; throws Error if
  // it cannot be mapped here.
  virtual std::shared_ptr<Region> map(const PeerRegion& peer, Descriptor fd) const = 0;
  // Makes a region of another rank of my process reachable from where I run.
  virtual void reach([[maybe_unused]] const Region& theirs) const {}
  // Ranks of one process with the same scope share one mapping of a region of another process.
  virtual uint64_t scope() const { return 0; }

 protected:
  Region() = default;

  char* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace transload
