// What a Handle holds: the routing of one dispatch as its origin, its forwarders and its owners know it. No base, no
// ring position, no channel cut: any later call may use it with any channels.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "layout/plan.h"
#include "layout/token.h"
#include "transload/dispatch.h"

namespace transload {

struct DeviceHandleBlock;  // runtime/cuda/device_handle.h

constexpr uint64_t kNoRowsMax = ~uint64_t(0);

struct HandleData {
  uint64_t group = 0;  // the RankState::id of the rank that made it
  uint64_t born = 0;   // epoch; alike on all ranks
  uint64_t tokens = 0;
  uint32_t top_k = 0;

  // As origin.
  std::vector<Route> routes;   // [tokens][top_k]
  uint64_t sent_to_nodes = 0;  // copies that cross to other nodes

  // As forwarder, by source slot.
  std::vector<uint64_t> log_begin;    // [source slots + 1]
  std::vector<uint32_t> slot_tokens;  // [source slots] tokens of the rank behind it
  std::vector<uint32_t> log_token;    // [entries]
  std::vector<Route> log;             // [entries][log_width]
  uint32_t log_width = 0;
  uint64_t forwarded = 0;  // copies that I make of it for my peers

  // As owner.
  std::vector<uint64_t> row_base;       // [ranks + 1]
  std::vector<uint32_t> source_tokens;  // [ranks]
  std::vector<uint32_t> row_token;      // [rows_kept()] token at its source
  uint64_t rows_max = kNoRowsMax;       // rows from this one on are dropped, in every call

  DispatchReport report;                // of the dispatch that made it; call 0: only the device knows
  Overflow overflow = Overflow::kFail;  // likewise

  // Of a group on GPUs: the tables above lie there, and these are empty.
  std::shared_ptr<const DeviceHandleBlock> device;
  uint64_t device_rows = 0;  // that come; without a host wait: rows_max

  uint64_t rows_needed() const { return row_base.empty() ? device_rows : row_base.back(); }
  uint64_t kept(uint64_t row) const { return std::min(row, rows_max); }
  uint64_t rows_kept() const { return kept(rows_needed()); }
  // Of the tensors that hold my rows: known without counts where rows_max was given.
  uint64_t rows_held() const { return rows_max == kNoRowsMax ? rows_needed() : rows_max; }
};

// Which entries of the log, and which of my rows, belong to which channel, for any number of channels.
SpanTable forward_spans(const HandleData& handle, uint32_t channels);
SpanTable row_spans(const HandleData& handle, uint32_t channels);

}  // namespace transload
