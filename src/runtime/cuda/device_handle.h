// A handle's tables on the device, in the group's slabs.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

#include "kernels/device_call.h"
#include "runtime/arena.h"
#include "runtime/call/slab_cursor.h"

namespace transload {

struct DeviceHandleBlock {
  DeviceHandle tables;
  std::shared_ptr<Lease::Block> room;
  Word seal;           // of its report
  uint32_t channels;   // of its spans
  uint32_t log_width;  // owners of a token among my peers, at most
  int64_t rows;        // that I receive; of a call without a host wait: the most
};

// How long the tables are: by the most that can come, so that nothing has to be known before they are filled.
struct HandleSizes {
  uint64_t tokens, top_k, entries, log_width, rows;
  uint64_t slots, ranks, channels, experts;
};

// Puts the tables side by side at `base`. The bytes that they take.
inline uint64_t lay_tables(DeviceHandle& t, const HandleSizes& n, char* base) {
  SlabCursor at;
  auto put = [&](auto*& table, uint64_t count) {
    using T = std::remove_reference_t<decltype(*table)>;
    table = reinterpret_cast<T*>(uintptr_t(base) + at.take(count, sizeof(T)));
  };
  put(t.born, 1);
  put(t.routes, n.tokens * n.top_k);
  put(t.log_begin, n.slots + 1);
  put(t.slot_tokens, n.slots);
  put(t.log_token, n.entries);
  put(t.log, n.entries * n.log_width);
  put(t.row_base, n.ranks + 1);
  put(t.source_tokens, n.ranks);
  put(t.row_token, n.rows);
  put(t.forward, n.slots * (n.channels + 1));
  put(t.arriving, n.ranks * (n.channels + 1));
  t.report = reinterpret_cast<DeviceReport*>(uintptr_t(base) + at.take(1, sizeof(DeviceReport) + n.experts * 8));
  t.expert_counts = reinterpret_cast<int64_t*>(t.report + 1);
  return at.bytes;
}

// Which entries and rows belong to which channel of a call: the handle's own, or cut anew.
struct DeviceSpans {
  uint64_t* forward = nullptr;   // [source slots][channels + 1]
  uint64_t* arriving = nullptr;  // [ranks][channels + 1]
};

}  // namespace transload
