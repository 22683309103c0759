// What a warp holds back: which puts become one, and which count of a word is set.
#include "executor/fiber/batch.h"

#include <gtest/gtest.h>

#include "runtime/rank_state.h"

namespace transload {
namespace {

class Batches : public ::testing::Test {
 protected:
  // From slot to slot of a ring of 128-byte slots with 112 bytes in use.
  Put slot(uint32_t number, Word count) {
    return {bytes_ + number * 128, 1024 + number * 128, 112, 1, &drained_[0], count, 16};
  }
  Batch batch_;
  char bytes_[4096];
  Word drained_[2] = {};
};

TEST_F(Batches, PutsThatFollowEachOtherAreOne) {
  for (uint32_t i = 0; i < 4; ++i) batch_.add(slot(i, i + 1));
  ASSERT_EQ(batch_.put_count, 1);
  EXPECT_EQ(batch_.puts[0].bytes, 3 * 128u + 112);
  EXPECT_EQ(batch_.puts[0].drained_count, 4u);
  Put last = slot(4, 5);
  last.bytes = 128;
  last.padding = 0;
  batch_.add(last);
  batch_.add(slot(5, 6));
  ASSERT_EQ(batch_.put_count, 1);
  EXPECT_EQ(batch_.puts[0].bytes, 5 * 128u + 112);
}

TEST_F(Batches, WhatLiesBetweenIsPaddingAndNotLong) {
  batch_.add(slot(0, 1));
  batch_.add(slot(2, 2));
  EXPECT_EQ(batch_.put_count, 2) << "slot 1 is another's";
  batch_.clear();
  Put first = slot(0, 1), second = slot(16, 2);
  first.padding = 16 * 128 - 112;
  batch_.add(first);
  batch_.add(second);
  EXPECT_EQ(batch_.put_count, 2) << "longer than one more write costs";
  batch_.clear();
  first = slot(0, 1), second = slot(1, 2);
  second.padding = 144;  // and so does not go on at the next slot
  batch_.add(first);
  batch_.add(second);
  batch_.add(slot(2, 3));
  EXPECT_EQ(batch_.put_count, 2) << "the padding of the last one counts";
}

// What is put of neighbouring slots along a rail, in a group for combines with this wire.
int puts_of_sums(CombineWire wire) {
  GroupOptions options;
  options.bootstrap.ranks = 2;
  options.topology.node_sizes = {1, 1};
  options.combine_wire = wire;
  const RankState rank(options);
  const Block slots = rank.board.net.combine.send;
  const size_t bytes = options.row_bytes_max;  // of a row, without weights
  Word drained = 0;
  Batch batch;
  for (uint32_t i = 0; i < 8; ++i) {
    const uint64_t at = slots.at(0, 1, i);
    batch.add({.from = reinterpret_cast<const char*>(at),
               .offset = at,
               .bytes = wire == CombineWire::kF32 ? 2 * bytes : bytes,
               .rank = 1,
               .drained = &drained,
               .drained_count = i + 1,
               .padding = slots.unit - (wire == CombineWire::kF32 ? 2 * bytes : bytes)});
  }
  return batch.put_count;
}

TEST(PartialSums, OfOneTypeAreOnePut) {
  EXPECT_EQ(puts_of_sums(CombineWire::kBf16), 1);
  EXPECT_EQ(puts_of_sums(CombineWire::kF32), 1);
}

TEST_F(Batches, TheTargetGoesOnToo) {
  batch_.add(slot(0, 1));
  Put wrapped = slot(1, 2);
  wrapped.offset = 0;
  batch_.add(wrapped);
  EXPECT_EQ(batch_.put_count, 2);
}

TEST_F(Batches, ACountSpeaksOnlyForItsOwn) {
  batch_.add(slot(0, 1));
  Put other = slot(1, 1);
  other.drained = &drained_[1];
  batch_.add(other);
  EXPECT_EQ(batch_.put_count, 2) << "another word";
  batch_.clear();
  batch_.add(slot(0, 1));
  Put between = slot(7, 2);
  between.rank = 2;
  batch_.add(between);
  batch_.add(slot(1, 3));
  EXPECT_EQ(batch_.put_count, 3) << "3 would be shown before the put between them is read";
  batch_.clear();
  batch_.add(slot(0, 1));
  between.drained = &drained_[1];
  batch_.add(between);
  batch_.add(slot(1, 2));
  EXPECT_EQ(batch_.put_count, 2) << "the one between them asks with another word";
}

TEST_F(Batches, OfAWordTheLargestCount) {
  Word word = 0;
  batch_.add(PendingMark{&word, {0, 1}, 3, false});
  batch_.add(PendingMark{&word, {0, 1}, 5, true});
  batch_.add(PendingMark{&word, {0, 1}, 4, true});
  ASSERT_EQ(batch_.mark_count, 1);
  EXPECT_EQ(batch_.marks[0].count, 5u);
  EXPECT_EQ(batch_.credits, 2);
  batch_.add(PendingMark{nullptr, {64, 1}, 1, false});
  batch_.add(PendingMark{nullptr, {64, 2}, 1, false});
  batch_.add(PendingMark{nullptr, {72, 1}, 1, false});
  EXPECT_EQ(batch_.mark_count, 4);
}

}  // namespace
}  // namespace transload
