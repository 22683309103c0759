// The token on the wire: every part a multiple of 16 bytes, one after another.
#include "layout/token.h"

#include <gtest/gtest.h>

#include <vector>

namespace transload {
namespace {

TEST(TokenShape, PartsAreMultiplesOfTheUnit) {
  for (uint64_t row : {16u, 48u, 592u, 14336u, 40960u})
    for (uint32_t scales : {0u, 1u, 3u, 4u, 5u, 56u})
      for (uint32_t top_k : {1u, 2u, 8u, 31u, 32u})
        for (bool listed : {false, true}) {
          const TokenShape shape{row, scales, top_k, listed};
          ASSERT_EQ(shape.scale_room() % kTokenUnit, 0u);
          ASSERT_EQ(shape.header_offset() % kTokenUnit, 0u);
          ASSERT_EQ(shape.header_bytes() % kTokenUnit, 0u);
          ASSERT_EQ(shape.bytes() % kTokenUnit, 0u);
          ASSERT_EQ(shape.scale_bytes(), scales * 4u);
          ASSERT_GE(shape.scale_room(), scales * 4u);
          ASSERT_LT(shape.scale_room(), scales * 4u + kTokenUnit);
          ASSERT_EQ(shape.header_bytes(), 16u + (listed ? 16u * top_k : 0u));
          ASSERT_EQ(shape.header_offset(), row + shape.scale_room());
          ASSERT_EQ(shape.bytes(), row + shape.scale_room() + shape.header_bytes());
        }
}

TEST(TokenShape, MainJob) {
  const TokenShape shape{14336, 0, 8, true};
  EXPECT_EQ(shape.bytes(), 14336u + 16u + 128u);
  const TokenShape cached{14336, 56, 8, false};
  EXPECT_EQ(cached.bytes() - cached.row_bytes, 224u + 16u);
}

TEST(Header, EntriesFollowIt) {
  std::vector<Header> memory(5);  // one header and four entries: all of one size
  Header* header = memory.data();
  const void* const after = header + 1;
  EXPECT_EQ(static_cast<const void*>(header->entries()), after);
  EXPECT_EQ(static_cast<const void*>(header->entries() + 4), static_cast<const void*>(header + 5));
  header->entries()[3] = {7, 8, -1, 0.5f};
  const Header* seen = header;
  EXPECT_EQ(seen->entries()[3].owner, 7u);
  EXPECT_EQ(seen->entries()[3].expert, -1);
}

}  // namespace
}  // namespace transload
