// How a kernel cuts an SM's near memory: stages as large as they may be, then the tables of the roles.
#pragma once
#include "executor/cuda/rank.h"
#include "protocol/tables.h"

namespace transload {

constexpr uint32_t kWarpsOfBlock = 8;
constexpr uint32_t kBlockBytesMax = 1024;  // bytes that a block keeps beside its warps' near memory
constexpr uint32_t kNearTablesMax = 6144;  // the longest tables of a warp in near memory; others lie in device memory

inline uint32_t table_bytes_of(const RankMap& map) { return uint32_t(round_up(most_tables_bytes(map), kLineBytes)); }

}  // namespace transload
