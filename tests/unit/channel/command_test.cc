// The form of a command: all of it comes back, and nothing is taken for it that has arrived in part.
#include "channel/command.h"

#include <gtest/gtest.h>

#include <vector>

namespace transload {
namespace {

constexpr uint64_t kMost = (uint64_t(1) << 56) - 1;

std::vector<RailCommand> examples() {
  return {{.verb = RailVerb::kPut, .rank = 4095, .to = uint64_t(1) << 40, .count = 7, .from = 4096, .bytes = 14336},
          {.verb = RailVerb::kPut,
           .rank = 65535,
           .to = kMost,
           .count = kMost,
           .from = kMost,
           .bytes = (uint64_t(1) << 36) - 1,
           .drained = kMost - 1},
          {.verb = RailVerb::kPublish, .rank = 0, .to = 0, .count = 0},
          {.verb = RailVerb::kCredit, .rank = 3, .to = 1280, .count = (uint64_t(1) << 48) + 5}};
}

void expect_same(const RailCommand& a, const RailCommand& b) {
  EXPECT_EQ(a.verb, b.verb);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_EQ(a.to, b.to);
  EXPECT_EQ(a.count, b.count);
  EXPECT_EQ(a.from, b.from);
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.drained, b.drained);
}

TEST(Command, AllOfItComesBack) {
  for (const RailCommand& asked : examples())
    for (const Word lap : {Word(1), Word(255), Word(256), Word(257), Word(1) << 40}) {
      RailCommand got{};
      ASSERT_TRUE(decode(encode(asked, lap), lap, got));
      expect_same(got, asked);
    }
}

// What lies in the slot before: nothing, or the command of the lap before. The bytes of each word arrive in order.
TEST(Command, NoneOfItIsTakenBeforeAllHasArrived) {
  for (const Word lap : {Word(1), Word(2), Word(256), Word(257)})
    for (const RailCommand& asked : examples()) {
      const CommandSlot whole = encode(asked, lap);
      const CommandSlot before = lap == 1 ? CommandSlot{} : encode(examples()[1], lap - 1);
      for (uint32_t late = 0; late < CommandSlot::kWords; ++late)
        for (uint32_t bytes = 0; bytes <= 8; ++bytes) {
          CommandSlot slot = whole;
          const Word low = bytes == 8 ? ~Word(0) : (Word(1) << 8 * bytes) - 1;
          slot.words[late] = (whole.words[late] & low) | (before.words[late] & ~low);
          RailCommand got{};
          EXPECT_EQ(decode(slot, lap, got), bytes == 8) << "lap " << lap << ", word " << late << ", bytes " << bytes;
          EXPECT_EQ(got.rank, bytes == 8 ? asked.rank : 0u) << "a command that is not taken changes nothing";
        }
    }
}

TEST(Command, ASlotIsReachedOnceALap) {
  const CommandRoom room{3};
  EXPECT_EQ(room.slot(0), 0u);
  EXPECT_EQ(room.slot(5), 2u);
  EXPECT_EQ(room.lap(0), 1u);
  EXPECT_EQ(room.lap(2), 1u);
  EXPECT_EQ(room.lap(3), 2u);
  EXPECT_TRUE(room.fits(2, 0));
  EXPECT_FALSE(room.fits(3, 0));
  EXPECT_TRUE(room.fits(3, 1));
}

TEST(Command, WhatDoesNotFitIsRefused) {
  const std::vector<RailCommand> wrong = {{.verb = RailVerb(16), .rank = 0, .to = 0},
                                          {.verb = RailVerb::kPut, .rank = 65536, .to = 0},
                                          {.verb = RailVerb::kPut, .rank = 0, .to = kMost + 1},
                                          {.verb = RailVerb::kPut, .rank = 0, .to = 0, .count = kMost + 1},
                                          {.verb = RailVerb::kPut, .rank = 0, .to = 0, .from = kMost + 1},
                                          {.verb = RailVerb::kPut, .rank = 0, .to = 0, .bytes = uint64_t(1) << 36},
                                          {.verb = RailVerb::kPut, .rank = 0, .to = 0, .drained = kMost + 1}};
  for (const RailCommand& c : wrong) EXPECT_DEATH(encode(c, 1), "broken");
}

}  // namespace
}  // namespace transload
