// What a rank says instead of counts: read as it was written, and shown whatever the bytes are.
#include "layout/counts.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

constexpr CountsShape kShape{.channels_max = 2, .experts_max = 3};

struct Record {
  std::vector<char> bytes = std::vector<char>(kShape.rank_bytes(), char(0x5A));
  std::optional<Refusal> read() const { return Refusal::in(7, CountsRecord::at(bytes.data())); }
};

TEST(Refusal, IsReadAsItWasWritten) {
  Record record;
  Refusal{0, 1, "rows of x: 9, must be 0 to 8"}.write(record.bytes.data());
  const std::optional<Refusal> read = record.read();
  ASSERT_TRUE(read);
  EXPECT_EQ(read->rank, 7u);
  EXPECT_EQ(read->code, 1u);
  EXPECT_EQ(read->text, "rows of x: 9, must be 0 to 8");
}

TEST(Refusal, IsNoCount) {
  Record record;
  const SendCounts counts{{4}, {3, 1}, {0}, {0, 0}, {2, 1, 1}};
  static const uint32_t begin[] = {0, 3};
  const CountsWriter writer{counts, {nullptr, nullptr, begin, 3}, 5, 2, kShape};
  Refusal{0, 1, "x"}.write(record.bytes.data());
  writer.for_rank(record.bytes.data(), 0);
  EXPECT_FALSE(record.read());
  EXPECT_EQ(CountsRecord::at(record.bytes.data()).tokens(), 4u);
}

TEST(Refusal, OfMoreThanThereIsRoomForIsCut) {
  Record record;
  Refusal{0, 1, std::string(1000, 'x')}.write(record.bytes.data());
  EXPECT_EQ(record.bytes.size(), CountsShape::kRefusalBytes);
  EXPECT_EQ(record.read()->text, std::string(Refusal::kTextBytes, 'x'));
}

TEST(Refusal, OfBytesThatAreNoTextIsShownAllTheSame) {
  Record record;
  Refusal{0, 1, "a\n\x1b[31m\xff"}.write(record.bytes.data());
  EXPECT_EQ(record.read()->text, "a??[31m?");
}

}  // namespace
}  // namespace transload
