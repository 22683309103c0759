// How much room in the slabs the calls of a rank need.
#include <algorithm>
#include <string>

#include "runtime/call/output_room.h"
#include "runtime/cuda/device_handle_block.h"
#include "runtime/group_options.h"

namespace transload {

namespace {

uint64_t given_or(const char* what, int64_t given, uint64_t instead) {
  if (given < -1)
    throw Error(Code::kInvalidArgument,
                "slab_bytes_needed: " + std::string(what) + ": " + std::to_string(given) + ", must be at least -1");
  return given == -1 ? instead : uint64_t(given);
}

// `count` leases of `bytes` bytes.
uint64_t leases(uint32_t count, uint64_t bytes) {
  return times(count, round_up_checked(std::max<uint64_t>(bytes, 1), kLeaseAlign));
}

uint64_t handle_bytes(const RankState& rank) {
  const GroupOptions& o = rank.options;
  if (o.device.device_type == kDLCPU) return 0;  // on the host a handle lies in private memory
  DeviceHandle unplaced{};
  return lay_handle(unplaced, handle_sizes(rank, o.tokens_max, o.top_k_max, o.channels), nullptr);
}

}  // namespace

uint64_t slab_bytes_needed(const GroupOptions& options, const SlabUse& use) {
  const RankState rank(options);
  const GroupOptions& o = rank.options;
  const uint64_t rows = given_or("rows", use.rows, times(rank.map.ranks, o.tokens_max)),
                 tokens = given_or("tokens", use.tokens, o.tokens_max);
  const uint64_t received = RowColumns(longest_token(o), rows, kI64, {}).at.bytes,
                 summed = SumColumns(tokens, o.row_bytes_max, o.top_k_max, {}).at.bytes;
  uint64_t bytes = leases(use.dispatches, received);
  if (const uint64_t handle = handle_bytes(rank); handle > 0) bytes = plus(bytes, leases(use.dispatches, handle));
  bytes = plus(bytes, leases(use.expert_rows, times(rows, o.row_bytes_max)));
  bytes = plus(bytes, leases(use.expert_rows, times(times(rows, o.top_k_max), sizeof(float))));
  bytes = plus(bytes, leases(use.combines, summed));
  if (const uint64_t most = option_facts("slab_bytes").most; bytes > most)
    throw Error(Code::kInvalidArgument,
                "slab_bytes_needed: " + (bytes == kTooLarge ? "more than 2^64" : std::to_string(bytes)) +
                    " bytes, must be at most " + std::to_string(most));
  return bytes;
}

}  // namespace transload
