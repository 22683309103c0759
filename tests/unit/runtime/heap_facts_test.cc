// Which ranks are of one world of NVSHMEM, and which block of its heap they can have.
#include "runtime/network/heap_facts.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "transload/status.h"

namespace transload {
namespace {

std::vector<uint32_t> worlds_of(const std::vector<uint32_t>& node_sizes) {
  return rail_worlds(RankTable(node_sizes).seen_by(0));
}

TEST(RailWorlds, AreTheRanksThatRailsJoin) {
  EXPECT_EQ(worlds_of({2, 2}), (std::vector<uint32_t>{0, 1, 0, 1}));
  EXPECT_EQ(worlds_of({3, 3, 3}), (std::vector<uint32_t>{0, 1, 2, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(worlds_of({1, 3}), (std::vector<uint32_t>{0, 0, 0, 0}));        // all come to one rail
  EXPECT_EQ(worlds_of({2, 4}), (std::vector<uint32_t>{0, 1, 0, 1, 0, 1}));  // two to each
  EXPECT_EQ(worlds_of({3, 2}), (std::vector<uint32_t>{0, 1, 0, 0, 1}));     // ranks 0 and 2, by rank 3
  EXPECT_EQ(worlds_of({4}), (std::vector<uint32_t>{0, 1, 2, 3}));           // no rails
}

HeapFacts facts_of(uint64_t number, uint32_t pes, std::vector<NvshmemWorld::HeapPart> blocks = {}) {
  return {.lost = "", .number = number, .pes = pes, .blocks = std::move(blocks), .settings = "A 1\nB 2\n"};
}

TEST(HeapFacts, AreReadAsTheyWereSaid) {
  HeapFacts facts = facts_of(77, 3, {{nullptr, 4096, true}, {nullptr, 8192, false}});
  facts.lost = "why";
  const HeapFacts read = HeapFacts::unpack(facts.pack());
  EXPECT_EQ(read.lost, "why");
  EXPECT_EQ(read.number, 77u);
  EXPECT_EQ(read.pes, 3u);
  EXPECT_EQ(read.settings, facts.settings);
  ASSERT_EQ(read.blocks.size(), 2u);
  EXPECT_EQ(read.blocks[0].bytes, 4096u);
  EXPECT_TRUE(read.blocks[0].taken);
  EXPECT_FALSE(read.blocks[1].taken);
  const std::string said = facts.pack();
  EXPECT_THROW(HeapFacts::unpack(said.substr(0, said.size() - 1)), Error);
  EXPECT_THROW(HeapFacts::unpack(said + "x"), Error);
  // A world has PEs, and a process without one no blocks.
  EXPECT_THROW(HeapFacts::unpack(facts_of(77, 0).pack()), Error);
  EXPECT_THROW(HeapFacts::unpack(facts_of(0, 3).pack()), Error);
  EXPECT_THROW(HeapFacts::unpack(facts_of(0, 0, {{nullptr, 4096, false}}).pack()), Error);
}

const std::vector<uint32_t> kTwoPairs{0, 1, 0, 1};

TEST(HeapRefusal, IsNoneForRanksThatAreNewOrOfOneWorld) {
  EXPECT_EQ(heap_refusal(std::vector<HeapFacts>(4, facts_of(0, 0)), kTwoPairs), "");
  EXPECT_EQ(heap_refusal({facts_of(5, 2), facts_of(6, 2), facts_of(5, 2), facts_of(6, 2)}, kTwoPairs), "");
  EXPECT_EQ(heap_refusal({facts_of(5, 2), facts_of(0, 0), facts_of(5, 2), facts_of(0, 0)}, kTwoPairs), "");
}

TEST(HeapRefusal, SaysWhatStandsInTheWay) {
  std::vector<HeapFacts> facts(4, facts_of(0, 0));
  facts[2].lost = "rank 9 died";
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "it is lost to the process of rank 2 for good: rank 9 died");
  facts[2] = facts_of(5, 2);
  EXPECT_EQ(heap_refusal(facts, kTwoPairs),
            "ranks 0 and 2 are not of one world, and a process joins one for its life: must be both new to it");
  facts[0] = facts_of(6, 2);
  EXPECT_EQ(heap_refusal(facts, kTwoPairs),
            "ranks 0 and 2 are not of one world, and a process joins one for its life: must be of the same");
  facts[0] = facts[2] = facts_of(5, 3);
  EXPECT_EQ(heap_refusal(facts, kTwoPairs),
            "rank 0 is of a world of 3 processes, for its life, and rails of this group join 2 of them; must be all");
  facts.assign(4, facts_of(0, 0));
  facts[3].settings = "A 1\nB 3\n";
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "B 2, elsewhere B 3 (ranks 1 and 3); must be alike");
  facts.assign(4, facts_of(5, 2));
  facts[3].blocks.push_back({nullptr, 1, false});
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "ranks 1 and 3 have heaps of different blocks");
  facts[1].blocks.push_back({nullptr, 2, false});
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "ranks 1 and 3 have heaps of different blocks");
  facts[1].blocks[0].bytes = 1;
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "");
}

// Whoever says less, or ends without a line's end, says something else, and that is found.
TEST(HeapRefusal, ReadsSettingsOfAnyLength) {
  std::vector<HeapFacts> facts(4, facts_of(0, 0));
  facts[1].settings = "A 1";
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), ", elsewhere B 2 (ranks 1 and 3); must be alike");
  std::swap(facts[1], facts[3]);
  EXPECT_EQ(heap_refusal(facts, kTwoPairs), "B 2, elsewhere  (ranks 1 and 3); must be alike");
}

TEST(WorldRefusal, NamesWhoMakesNoWorldOrOneTooMany) {
  std::vector<HeapFacts> facts(4, facts_of(0, 0));
  std::vector<WorldSaid> said(4);
  said[0].number = 7;
  EXPECT_EQ(world_refusal(facts, kTwoPairs, said), "rank 1 says of a new world the number 0, must be another than 0");
  said[1].number = 8;
  EXPECT_EQ(world_refusal(facts, kTwoPairs, said), "");
  said[2].number = 9;
  EXPECT_EQ(world_refusal(facts, kTwoPairs, said),
            "rank 2 says of a new world the number 9, must be 0: rank 0 makes it");
  facts[0] = facts[2] = facts_of(5, 2);  // are of one already
  EXPECT_EQ(world_refusal(facts, kTwoPairs, said), "");
  const std::string packed = said[1].pack();
  EXPECT_EQ(WorldSaid::unpack(packed).number, 8u);
  EXPECT_THROW(WorldSaid::unpack(packed + "x"), Error);
  EXPECT_THROW(WorldSaid::unpack(packed.substr(0, packed.size() - 1)), Error);
}

TEST(PeRefusal, NamesWhoIsNoPeOfItsWorld) {
  EXPECT_EQ(pe_refusal({1, 0, 0, 1}, kTwoPairs), "");
  EXPECT_EQ(pe_refusal({1, 0, 0, 2}, kTwoPairs),
            "rank 3 says that it is PE 2 of its world, must be 0 to 1 and that of no other rank");
  EXPECT_EQ(pe_refusal({1, 0, 1, 1}, kTwoPairs),
            "rank 2 says that it is PE 1 of its world, must be 0 to 1 and that of no other rank");
  EXPECT_EQ(PeSaid::unpack(PeSaid::pack(3)), 3u);
  EXPECT_THROW(PeSaid::unpack("123"), Error);
}

TEST(HeapOffsets, AreAlikeInEachWorld) {
  EXPECT_EQ(heap_offset_refusal({64, 0, 64, 0}, kTwoPairs), "");
  EXPECT_EQ(heap_offset_refusal({64, 0, 64, 128}, kTwoPairs),
            "ranks 1 and 3 have their regions 0 and 128 bytes into its heap; must be alike");
}

TEST(FreeBlock, IsFreeOnAllRanksOfTheWorldAndLongEnough) {
  const auto with = [](bool first, bool second) {
    return facts_of(5, 2, {{nullptr, 100, first}, {nullptr, 200, second}});
  };
  // Rank 2 has still to linger on the first; what ranks 1 and 3 have is of another world.
  const std::vector<HeapFacts> facts{with(false, false), with(true, true), with(true, false), with(true, true)};
  EXPECT_EQ(free_block(facts, kTwoPairs, 0, 50), 1u);
  EXPECT_EQ(free_block(facts, kTwoPairs, 0, 200), 1u);
  EXPECT_EQ(free_block(facts, kTwoPairs, 0, 201), 2u);
  EXPECT_EQ(free_block(facts, kTwoPairs, 1, 50), 2u);
  const std::vector<HeapFacts> free{with(false, false), with(true, true), with(false, true), with(true, true)};
  EXPECT_EQ(free_block(free, kTwoPairs, 0, 100), 0u);
}

}  // namespace
}  // namespace transload
