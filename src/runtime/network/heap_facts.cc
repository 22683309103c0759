// Which ranks come together in NVSHMEM's heap: see heap_facts.h.
#include "runtime/network/heap_facts.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "runtime/said.h"

namespace transload {

std::string ranks_text(uint32_t one, uint32_t other) {
  return "ranks " + std::to_string(one) + " and " + std::to_string(other);
}

uint32_t world_size(const std::vector<uint32_t>& worlds, uint32_t root) {
  return uint32_t(std::count(worlds.begin(), worlds.end(), root));
}

namespace {

bool alike(const std::vector<NvshmemWorld::HeapPart>& one, const std::vector<NvshmemWorld::HeapPart>& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const auto& a, const auto& b) { return a.bytes == b.bytes; });
}

}  // namespace

std::vector<uint32_t> rail_worlds(const RankMap& map) {
  std::vector<uint32_t> root(map.ranks);
  for (uint32_t r = 0; r < map.ranks; ++r) root[r] = r;
  const auto root_of = [&](uint32_t r) {
    while (root[r] != r) r = root[r];
    return r;
  };
  for (uint32_t r = 0; r < map.ranks; ++r)
    for (uint32_t n = 0; n < map.nodes; ++n) {
      if (n == map.node_of[r]) continue;
      const uint32_t one = root_of(r), other = root_of(map.rail_of(r, n));
      root[std::max(one, other)] = std::min(one, other);
    }
  for (uint32_t r = 0; r < map.ranks; ++r) root[r] = root_of(r);
  return root;
}

std::string HeapFacts::pack() const {
  ByteWriter said;
  said.text(lost).u64(number).u32(pes).text(settings).u32(uint32_t(blocks.size()));
  for (const NvshmemWorld::HeapPart& block : blocks) said.u64(block.bytes).u8(block.taken);
  return said.take();
}

HeapFacts HeapFacts::unpack(std::string_view said) {
  ByteReader reader(said);
  HeapFacts facts;
  facts.lost = reader.text();
  facts.number = reader.u64();
  facts.pes = reader.u32();
  facts.settings = reader.text();
  for (uint32_t left = reader.u32(); left > 0 && reader.ok(); --left) {
    const uint64_t bytes = reader.u64();
    facts.blocks.push_back({nullptr, bytes, reader.flag()});
  }
  const bool in_world = facts.number != 0;
  if (!reader.done() || in_world != (facts.pes != 0) || (!in_world && !facts.blocks.empty()))
    throw malformed_of_rank("its heap");
  return facts;
}

std::string heap_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds) {
  for (uint32_t r = 0; r < facts.size(); ++r)
    if (!facts[r].lost.empty())
      return "it is lost to the process of rank " + std::to_string(r) + " for good: " + facts[r].lost;
  for (uint32_t r = 0; r < facts.size(); ++r) {
    const uint32_t root = worlds[r];
    const HeapFacts &mine = facts[r], &first = facts[root];
    if (mine.number != first.number)
      return ranks_text(root, r) + " are not of one world, and a process joins one for its life: must be " +
             (first.number == 0 || mine.number == 0 ? "both new to it" : "of the same");
    const uint32_t joined = world_size(worlds, root);
    if (mine.number != 0 && mine.pes != joined)
      return "rank " + std::to_string(r) + " is of a world of " + std::to_string(mine.pes) +
             " processes, for its life, and rails of this group join " + std::to_string(joined) +
             " of them; must be all";
    if (mine.number == 0 && mine.settings != first.settings) {
      const LinesApart apart = first_difference(first.settings, mine.settings);
      return apart.one + ", elsewhere " + apart.other + " (" + ranks_text(root, r) + "); must be alike";
    }
    if (!alike(mine.blocks, first.blocks)) return ranks_text(root, r) + " have heaps of different blocks";
  }
  return "";
}

size_t free_block(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds, uint32_t root,
                  uint64_t bytes) {
  const size_t count = facts[root].blocks.size();
  for (size_t b = 0; b < count; ++b) {
    bool free = facts[root].blocks[b].bytes >= bytes;
    for (size_t r = 0; r < facts.size() && free; ++r) free = worlds[r] != root || !facts[r].blocks[b].taken;
    if (free) return b;
  }
  return count;
}

std::string heap_offset_refusal(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& worlds) {
  for (uint32_t r = 0; r < offsets.size(); ++r)
    if (const uint32_t root = worlds[r]; offsets[r] != offsets[root])
      return ranks_text(root, r) + " have their regions " + std::to_string(offsets[root]) + " and " +
             std::to_string(offsets[r]) + " bytes into its heap; must be alike";
  return "";
}

std::string HeapOffsetSaid::pack(uint64_t offset) { return ByteWriter().u64(offset).take(); }

uint64_t HeapOffsetSaid::unpack(std::string_view said) {
  ByteReader reader(said);
  const uint64_t offset = reader.u64();
  if (!reader.done()) throw malformed_of_rank("its place in the heap");
  return offset;
}

std::string WorldSaid::pack() const {
  std::string bytes(sizeof id, 0);
  std::memcpy(bytes.data(), &id, sizeof id);
  return ByteWriter().u64(number).text(bytes).take();
}

WorldSaid WorldSaid::unpack(std::string_view said) {
  ByteReader reader(said);
  WorldSaid world;
  world.number = reader.u64();
  const std::string bytes = reader.text();
  if (!reader.done() || bytes.size() != sizeof world.id) throw malformed_of_rank("its world");
  std::memcpy(&world.id, bytes.data(), sizeof world.id);
  return world;
}

std::string world_refusal(const std::vector<HeapFacts>& facts, const std::vector<uint32_t>& worlds,
                          const std::vector<WorldSaid>& said) {
  for (uint32_t r = 0; r < said.size(); ++r)
    if (facts[r].number == 0 && (worlds[r] == r) != (said[r].number != 0))
      return "rank " + std::to_string(r) + " says of a new world the number " + std::to_string(said[r].number) +
             ", must be " + (worlds[r] == r ? "another than 0" : "0: rank " + std::to_string(worlds[r]) + " makes it");
  return "";
}

std::string PeSaid::pack(int pe) { return ByteWriter().u32(uint32_t(pe)).take(); }

uint32_t PeSaid::unpack(std::string_view said) {
  ByteReader reader(said);
  const uint32_t pe = reader.u32();
  if (!reader.done()) throw malformed_of_rank("its PE");
  return pe;
}

std::string pe_refusal(const std::vector<uint32_t>& pes, const std::vector<uint32_t>& worlds) {
  std::vector<std::vector<bool>> taken(worlds.size());
  for (uint32_t r = 0; r < pes.size(); ++r) {
    std::vector<bool>& of_world = taken[worlds[r]];
    of_world.resize(world_size(worlds, worlds[r]));
    if (pes[r] >= of_world.size() || of_world[pes[r]])
      return "rank " + std::to_string(r) + " says that it is PE " + std::to_string(pes[r]) +
             " of its world, must be 0 to " + std::to_string(of_world.size() - 1) + " and that of no other rank";
    of_world[pes[r]] = true;
  }
  return "";
}

}  // namespace transload
