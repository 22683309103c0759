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
  std::string_view handle;  // Region::handle() there
};

class Region {
 public:
  virtual ~Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  char* base() const { return base_; }
  size_t bytes() const { return bytes_; }

  // Ranks map regions of their own kind.
  virtual const char* kind() const = 0;
  // What a peer must know beside the descriptor, to be gathered with the offer.
  virtual std::string handle() const { return {}; }
  // What is passed to the processes that map it; -1: nothing.
  virtual int fd() const = 0;
  // The mapping stays; nobody can be given it any more.
  virtual void close_fd() = 0;

  // Throws the Error with which I, rank `rank`, and the peer could not share memory; both find the same. Maps nothing.
  virtual void check([[maybe_unused]] uint32_t rank, [[maybe_unused]] const PeerRegion& peer,
                     [[maybe_unused]] bool same_process) const {}
  // A region of another process, mapped for me. Null if what it passed is not what it offered; throws Error if it
  // cannot be mapped here.
  virtual std::shared_ptr<Region> map(const PeerRegion& peer, Descriptor fd) const = 0;
  // `theirs` is of my process: makes it reachable from where I run.
  virtual void reach([[maybe_unused]] const Region& theirs) const {}
  // Ranks of one process that say the same share one mapping of a region of another process.
  virtual uint64_t scope() const { return 0; }

 protected:
  Region() = default;

  char* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace transload
