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

// [ranks] the lowest rank of those that rails join with each, over other ranks too.
std::vector<uint32_t> rail_worlds(const RankMap& map);
// How many ranks are of the world of `root`.
uint32_t world_size(const std::vector<uint32_t>& worlds, uint32_t root);

// Two ranks, in words.
std::string ranks_text(uint32_t one, uint32_t other);

// What a rank says of its process before a world is made or used again. As all unpack() of runtime/said.h.
struct HeapFacts {
  std::string lost;                            // NvshmemWorld::lost()
  uint64_t number = 0;                         // of its world
  uint32_t pes = 0;                            // in it
  std::vector<NvshmemWorld::HeapPart> blocks;  // without addresses
  std::string settings;                        // what NVSHMEM is told if it is started

  std::string pack() const;
  static HeapFacts unpack(std::string_view said);
};

// Why these ranks can not be in one heap, the same on all; "": they can. `worlds` as of rail_worlds.
std::string heap_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds);

// The block that is long enough and free on all ranks of `root`'s world: only then all have lingered that had it. As
// many as there are: there is none.
size_t free_block(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds, uint32_t root,
                  uint64_t bytes);

// Why regions that lie so far in the heaps of these ranks can not be rails of each other, the same on all; "": they
// can.
std::string heap_offset_refusal(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& worlds);

struct HeapOffsetSaid {
  static std::string pack(uint64_t offset);
  static uint64_t unpack(std::string_view said);
};

// Where a world that is new begins: of its lowest rank, and nothing of the others.
struct WorldSaid {
  uint64_t number = 0;  // 0: it makes no world
  NvshmemId id{};

  std::string pack() const;
  static WorldSaid unpack(std::string_view said);
};

// Why these cannot begin the worlds that are new, the same on all; "": they can.
std::string world_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds,
                          const std::vector<WorldSaid>& said);

struct PeSaid {
  static std::string pack(int pe);
  static uint32_t unpack(std::string_view said);
};

// Why these cannot be the PEs of the ranks, the same on all; "": they can.
std::string pe_refusal(const std::vector<uint32_t>& pes, const std::vector<uint32_t>& worlds);

}  // namespace transload
