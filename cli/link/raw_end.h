// One end of raw writes: an endpoint of a provider without a link, whose writes are posted and reaped by hand, and
// nobody counts or checks them.
#pragma once
#include <string>
#include <vector>

#include "cli/link/said.h"
#include "transport/scaleout/libfabric/endpoint.h"

namespace transload::cli {

class RawEnd {
 public:
  // `most`: how many writes are out at once, from and to the region of `options`, which outlives this. Throws Error.
  RawEnd(const LibfabricOptions& options, uint32_t most);
  RawEnd(const RawEnd&) = delete;
  RawEnd& operator=(const RawEnd&) = delete;

  RawMemorySaid said() const;
  // Takes what the other rank said(). Throws Error.
  void reach(uint32_t rank, const RawMemorySaid& other);

  // Writes from an offset of my region to an offset of the other's. False if there is no room for a write now, or
  // broken() says why there never will be.
  bool write(uint64_t from, uint64_t to, uint64_t bytes);
  // Reaps writes. True if one has finished or failed.
  bool progress();
  bool idle() const { return free_.size() == contexts_.size(); }
  bool may_sleep() { return endpoint_.may_sleep(); }
  int wait_fd() const { return endpoint_.wait_fd(); }
  const std::string& broken() const { return broken_; }  // why writes no longer work; "" while they work

 private:
  char* const region_;
  FabricEndpoint endpoint_;
  std::vector<fi_context2> contexts_;
  std::vector<fi_context2*> free_;
  fid_mr* memory_ = nullptr;
  fi_addr_t there_ = FI_ADDR_UNSPEC;
  uint64_t key_ = 0, base_ = 0;
  std::string broken_;
};

}  // namespace transload::cli
