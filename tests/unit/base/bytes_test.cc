// Records that come from others: nothing is read past their end, and what is cut short says so for good.
#include "base/bytes.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

TEST(Bytes, ComeBackAsTheyWent) {
  const std::string bytes = ByteWriter().u8(255).u32(1u << 31).text("name").u64(~uint64_t(0) - 1).text("").take();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u8(), 255u);
  EXPECT_EQ(reader.u32(), 1u << 31);
  EXPECT_EQ(reader.text(), "name");
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.u64(), ~uint64_t(0) - 1);
  EXPECT_EQ(reader.text(), "");
  EXPECT_TRUE(reader.done());
}

TEST(Bytes, ATextIsWholeOrNone) {
  const std::string bytes = ByteWriter().text("text").take();
  for (size_t size = 0; size < bytes.size(); ++size) {
    ByteReader reader(std::string_view(bytes).substr(0, size));
    EXPECT_EQ(reader.text(), "") << size;
    EXPECT_FALSE(reader.ok()) << size;
    EXPECT_EQ(reader.u64(), 0u) << "for good";
    EXPECT_FALSE(reader.done());
  }
}

TEST(Bytes, AFlagIsSetOrNot) {
  const std::string bytes = ByteWriter().u8(1).u8(0).u8(2).u8(1).take();
  ByteReader reader(bytes);
  EXPECT_TRUE(reader.flag());
  EXPECT_FALSE(reader.flag());
  EXPECT_TRUE(reader.ok());
  EXPECT_FALSE(reader.flag());
  EXPECT_FALSE(reader.ok());
  EXPECT_FALSE(reader.flag()) << "for good";
}

TEST(Bytes, ZerosFillARecord) {
  EXPECT_TRUE(ByteReader(std::string(3, 0)).padded());
  EXPECT_TRUE(ByteReader("").padded());
  EXPECT_FALSE(ByteReader(std::string("\0x", 2)).padded());
  ByteReader cut("abc");
  cut.u32();
  EXPECT_FALSE(cut.padded());
}

TEST(Bytes, ANumberIsWholeOrNone) {
  ByteReader reader("abc");
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0u);
}

}  // namespace
}  // namespace transload
