// The cut of tokens into channels covers all, in order, evenly; and channel_of undoes it.
#include "layout/channels.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace transload {
namespace {

TEST(Cut, CoversAllTokensOnce) {
  for (uint32_t channels : {1u, 2u, 3u, 7u, 24u, 70u, 1024u})
    for (uint64_t tokens : {0u, 1u, 2u, 3u, 6u, 7u, 8u, 23u, 24u, 25u, 100u, 1023u, 4096u, 4097u}) {
      SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(channels) + " channels");
      const Cut cut{tokens, channels};
      uint64_t next = 0, most = 0, least = ~uint64_t(0);
      for (uint32_t c = 0; c < channels; ++c) {
        ASSERT_EQ(cut.begin(c), next);
        ASSERT_LE(cut.begin(c), cut.end(c));
        most = std::max(most, cut.end(c) - cut.begin(c));
        least = std::min(least, cut.end(c) - cut.begin(c));
        for (; next < cut.end(c); ++next) ASSERT_EQ(cut.channel_of(next), c) << "token " << next;
      }
      ASSERT_EQ(next, tokens);
      ASSERT_LE(most - least, 1u);
    }
}

// Contract 7.5.
TEST(Cut, HoldsFor64BitCounts) {
  const uint64_t tokens = (uint64_t(1) << 31) - 3;
  const uint32_t channels = 1024;
  const Cut cut{tokens, channels};
  EXPECT_EQ(cut.begin(0), 0u);
  EXPECT_EQ(cut.end(channels - 1), tokens);
  for (uint32_t c = 0; c < channels; ++c) {
    EXPECT_EQ(cut.channel_of(cut.begin(c)), c);
    EXPECT_EQ(cut.channel_of(cut.end(c) - 1), c);
  }
}

// Shares follow each other, none is empty or longer than a few tokens, and the last ones are of one: two for each
// warp, if there are so many tokens.
TEST(Shares, OfWarpsCoverAllTokensOnce) {
  for (uint64_t tokens = 0; tokens < 300; ++tokens)
    for (uint32_t warps : {0u, 1u, 2u, 7u, 64u, 200u}) {
      const Shares shares = Shares::of_warps(tokens, warps);
      uint64_t next = 0, in_a_row = 0;
      for (uint32_t share = 0; share < shares.count(); ++share) {
        ASSERT_EQ(shares.begin(share), next);
        next = shares.end(share);
        const uint64_t size = next - shares.begin(share);
        ASSERT_TRUE(size == 1 || size == Shares::kTokensOfShare) << size;
        ASSERT_TRUE(size == 1 || in_a_row == 0) << "a long share behind a short one";
        in_a_row = size == 1 ? in_a_row + 1 : 0;
      }
      ASSERT_EQ(next, tokens);
      ASSERT_GE(in_a_row, std::min<uint64_t>(tokens, 2 * warps)) << tokens << " tokens, " << warps << " warps";
      ASSERT_LT(in_a_row, 2 * uint64_t(warps) + Shares::kTokensOfShare);
    }
}

TEST(Shares, OfChannelsAreChannels) {
  const Shares shares = Shares::of_channels(10, 4);
  ASSERT_EQ(shares.count(), 4u);
  for (uint32_t c = 0; c < 4; ++c) {
    EXPECT_EQ(shares.begin(c), (Cut{10, 4}.begin(c)));
    EXPECT_EQ(shares.end(c), (Cut{10, 4}.end(c)));
  }
}

}  // namespace
}  // namespace transload
