// What a provider does without a link: writes between two sides of one process, posted and reaped by hand, that nobody
// counts or checks.
#pragma once
#include <rdma/fi_eq.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "transport/scaleout/libfabric/endpoint.h"

namespace transload {

class RawSide {
 public:
  // At most so many writes at once.
  RawSide(const LibfabricOptions& options, uint32_t most)
      : region_(options.region),
        endpoint_(find_provider(options.provider, options), options.source_address, 2 * most),
        contexts_(most) {
    memory_ = endpoint_.enroll({region_, options.region_bytes, {}}, FI_WRITE | FI_REMOTE_WRITE);
    for (fi_context2& context : contexts_) free_.push_back(&context);
  }
  RawSide(const RawSide&) = delete;
  RawSide& operator=(const RawSide&) = delete;

  void connect(uint32_t rank, const RawSide& other) {
    key_ = fi_mr_key(other.memory_);
    base_ = endpoint_.virtual_addresses() ? reinterpret_cast<uint64_t>(other.region_) : 0;
    there_ = endpoint_.insert(rank, other.endpoint_.address());
  }
  // From an offset of my region to one of the other's. False: no room for it now.
  bool write(uint64_t from, uint64_t to, uint64_t bytes) {
    if (free_.empty()) return false;
    const FabricPiece piece{
        .from = region_ + from, .bytes = bytes, .descriptor = fi_mr_desc(memory_), .to = base_ + to};
    const ssize_t code =
        endpoint_.write({.context = free_.back(), .pieces = &piece, .count = 1, .rank = there_, .key = key_});
    if (code == 0) free_.pop_back();
    if (code != 0 && code != -FI_EAGAIN) throw std::runtime_error("raw writes: " + fabric_error(code));
    return code == 0;
  }
  void progress() {
    constexpr int kMost = 32;
    fi_cq_entry entries[kMost];
    const ssize_t count = fi_cq_read(endpoint_.completions(), entries, kMost);
    for (ssize_t i = 0; i < count; ++i) free_.push_back(static_cast<fi_context2*>(entries[i].op_context));
    if (count < 0 && count != -FI_EAGAIN) throw std::runtime_error("raw writes: " + fabric_error(count));
  }
  bool idle() const { return free_.size() == contexts_.size(); }

 private:
  char* const region_;
  FabricEndpoint endpoint_;
  std::vector<fi_context2> contexts_;
  std::vector<fi_context2*> free_;
  fid_mr* memory_ = nullptr;
  fi_addr_t there_ = FI_ADDR_UNSPEC;
  uint64_t key_ = 0, base_ = 0;
};

}  // namespace transload
