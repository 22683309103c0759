// What a Handle holds: the tables of one dispatch, and what it found out.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>

#include "layout/handle.h"
#include "transload/dispatch.h"

namespace transload {

struct DeviceHandleBlock;  // runtime/cuda/device_handle_block.h

struct HandleData {
  uint64_t group = 0;  // RankState::id of the rank that made the handle
  uint64_t born = 0;   // epoch of the dispatch that made the handle, alike on all ranks
  uint64_t tokens = 0;
  uint32_t top_k = 0;

  HandleArrays tables;  // filled if the group is on the host; on GPUs the tables lie in `device`
  uint32_t log_width = 0;
  uint64_t forwarded = 0;          // equal to LearnedHandle::forwarded
  uint64_t sent_to_nodes = 0;      // copies of my tokens that cross to other nodes
  uint64_t rows_max = kNoRowsMax;  // rows from this one on are dropped, in every call

  DispatchReport report;                // report of the dispatch that made the handle; call 0: only the device has it
  Overflow overflow = Overflow::kFail;  // the choice of that dispatch

  // The tables of a group on GPUs.
  std::shared_ptr<const DeviceHandleBlock> device;
  uint64_t device_rows = 0;  // rows that come; rows_max if the host did not wait for their number

  uint64_t rows_needed() const { return tables.row_base.empty() ? device_rows : tables.row_base.back(); }
  uint64_t kept(uint64_t row) const { return std::min(row, rows_max); }
  uint64_t rows_kept() const { return kept(rows_needed()); }
  // Rows of the tensors that hold my rows. They are known without counts where rows_max was given.
  uint64_t rows_held() const { return rows_max == kNoRowsMax ? rows_needed() : rows_max; }
};

}  // namespace transload
