// What processes say to each other before their ranks share NVSHMEM's heap, and what follows from it. Arithmetic only.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "layout/rank_map.h"
#include "transport/scaleout/nvshmem/library.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload {

// [ranks] the world of each rank, as its root: the lowest rank that rails join it with, directly or over other ranks.
std::vector<uint32_t> rail_worlds(const RankMap& map);
// How many ranks are in the world of `root`.
uint32_t world_size(const std::vector<uint32_t>& worlds, uint32_t root);

// Two ranks, in words.
std::string ranks_text(uint32_t one, uint32_t other);

// What a rank says of its process before a world of NVSHMEM is made or used again. unpack() throws as those of
// runtime/said.h do.
struct HeapFacts {
  std::string lost;                            // NvshmemWorld::lost() of this process
  uint64_t number = 0;                         // number of the process's world; 0: none
  uint32_t pes = 0;                            // PEs of that world
  std::vector<NvshmemWorld::HeapPart> blocks;  // blocks of the heap, without addresses
  std::string settings;                        // what NVSHMEM is told if it is started

  std::string pack() const;
  static HeapFacts unpack(std::string_view said);
};

// Why these ranks can not be in one heap, or "" if they can; the same on all ranks. `worlds` is what rail_worlds()
// returns.
std::string heap_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds);

// The number of the first block that is long enough, and free on all ranks of `root`'s world. A block is free once
// every group that had it has seen all taken that it sent. If there is none, the number of blocks.
size_t free_block(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds, uint32_t root,
                  uint64_t bytes);

// Why regions at these offsets in the heaps of the ranks can not be rails of each other, or "" if
// they can; the same on all ranks.
std::string heap_offset_refusal(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& worlds);

struct HeapOffsetSaid {
  static std::string pack(uint64_t offset);
  static uint64_t unpack(std::string_view said);
};

// How a new world begins, as its lowest rank says it. The other ranks say nothing.
struct WorldSaid {
  uint64_t number = 0;  // 0: the rank makes no world
  NvshmemId id{};

  std::string pack() const;
  static WorldSaid unpack(std::string_view said);
};

// Why the ranks cannot begin the new worlds with what they said, or "" if they can; the same on all
// ranks.
std::string world_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds,
                          const std::vector<WorldSaid>& said);

struct PeSaid {
  static std::string pack(int pe);
  static uint32_t unpack(std::string_view said);
};

// Why these numbers cannot be the PEs of the ranks, or "" if they can; the same on all ranks.
std::string pe_refusal(const std::vector<uint32_t>& pes, const std::vector<uint32_t>& worlds);

}  // namespace transload
