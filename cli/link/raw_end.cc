// Writes of libfabric, posted and reaped by hand.
#include "cli/link/raw_end.h"

#include <rdma/fi_eq.h>

namespace transload::cli {

RawEnd::RawEnd(const LibfabricOptions& options, uint32_t most)
    : region_(options.region),
      endpoint_(find_provider(options.provider, options), options.source_address, 2 * most),
      contexts_(most) {
  memory_ = endpoint_.enroll({region_, options.region_bytes, {}}, FI_WRITE | FI_REMOTE_WRITE);
  for (fi_context2& context : contexts_) free_.push_back(&context);
}

RawMemorySaid RawEnd::said() const {
  const uint64_t base = endpoint_.virtual_addresses() ? reinterpret_cast<uint64_t>(region_) : 0;
  return {fi_mr_key(memory_), base, endpoint_.address()};
}

void RawEnd::reach(uint32_t rank, const RawMemorySaid& other) {
  key_ = other.key;
  base_ = other.base;
  there_ = endpoint_.insert(rank, other.endpoint);
}

bool RawEnd::write(uint64_t from, uint64_t to, uint64_t bytes) {
  if (free_.empty() || !broken_.empty()) return false;
  const FabricPiece piece{.from = region_ + from, .bytes = bytes, .descriptor = fi_mr_desc(memory_), .to = base_ + to};
  const ssize_t code =
      endpoint_.write({.context = free_.back(), .pieces = &piece, .count = 1, .rank = there_, .key = key_});
  if (code == 0) {
    free_.pop_back();
    return true;
  }
  if (code != -FI_EAGAIN) broken_ = "raw writes: " + fabric_error(code);
  return false;
}

bool RawEnd::progress() {
  constexpr int kMost = 32;
  fi_cq_entry entries[kMost];
  const ssize_t count = fi_cq_read(endpoint_.completions(), entries, kMost);
  for (ssize_t i = 0; i < count; ++i) free_.push_back(static_cast<fi_context2*>(entries[i].op_context));
  if (count >= 0 || count == -FI_EAGAIN) return count > 0;
  fi_cq_err_entry error{};
  const bool told = count == -FI_EAVAIL && fi_cq_readerr(endpoint_.completions(), &error, 0) > 0;
  broken_ = "raw writes: " + fabric_error(told ? -error.err : count);
  return true;
}

}  // namespace transload::cli
