// Rounds of held counts: none passes its puts, and of one word only the latest goes.
#ifdef TRANSLOAD_LIBFABRIC
#include "transport/scaleout/libfabric/ops.h"

#include <gtest/gtest.h>

#include <vector>

namespace transload {
namespace {

class Rounds : public ::testing::Test {
 protected:
  // A count for the word at `offset`, which has `puts` before it that have not landed.
  void hold(uint64_t offset, Word count, uint32_t puts = 0) {
    Op& op = pool_.take();
    op.offset = offset;
    op.count = count;
    op.puts_out = puts;
    held_.append(op);
  }
  // What goes as one round, as it lies at the front of the list.
  std::vector<std::pair<uint64_t, Word>> round() {
    gone_.clear();
    size_t left = start_round(held_, [this](Op& op) { gone_.push_back({op.offset, op.count}); });
    std::vector<std::pair<uint64_t, Word>> sent;
    for (; left > 0; --left) {
      const Op& op = *held_.take();
      sent.push_back({op.offset, op.count});
    }
    return sent;
  }
  using Counts = std::vector<std::pair<uint64_t, Word>>;
  OpPool pool_;
  OpList held_;
  Counts gone_;
};

TEST_F(Rounds, OfAWordOnlyTheLatest) {
  hold(8, 1);
  hold(16, 1);
  hold(8, 2);
  hold(24, 7);
  hold(8, 3);
  EXPECT_EQ(round(), (Counts{{16, 1}, {24, 7}, {8, 3}}));
  EXPECT_EQ(gone_, (Counts{{8, 1}, {8, 2}}));
  EXPECT_TRUE(held_.empty());
}

TEST_F(Rounds, NoneBeforeItsPutsHaveLanded) {
  hold(8, 1);
  hold(8, 2, 1);
  hold(16, 1);
  EXPECT_EQ(round(), (Counts{{8, 1}}));
  EXPECT_EQ(round(), Counts{});
  held_.first()->puts_out = 0;
  EXPECT_EQ(round(), (Counts{{8, 2}, {16, 1}}));
}

TEST_F(Rounds, AreBounded) {
  for (uint64_t i = 0; i < kRoundMax + 5; ++i) hold(8 * i, 1);
  hold(0, 2);
  EXPECT_EQ(round().size(), kRoundMax);
  EXPECT_EQ(round().size(), 6u);
  EXPECT_TRUE(gone_.empty());
}

}  // namespace
}  // namespace transload
#endif
