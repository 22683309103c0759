// What ranks say of themselves: read as it was said, or refused; and the line in which two texts differ, whatever the
// texts are.
#include "runtime/said.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace transload {
namespace {

std::string refusal_of_step(const std::string& said) {
  return test::refusal([&] { StepSaid::unpack(said); });
}

TEST(StepSaid, IsARefusalOrNothing) {
  EXPECT_EQ(StepSaid::unpack(StepSaid{}.pack()).code, Code::kOk);
  const StepSaid back = StepSaid::unpack(StepSaid{Code::kDevice, "why"}.pack());
  EXPECT_EQ(back.code, Code::kDevice);
  EXPECT_EQ(back.why, "why");
  // A fault has a culprit, which is not said here.
  for (const char code : {char(Code::kOk), char(Code::kFault), char(Code::kBadExpertId), char(8), char(-1)})
    EXPECT_EQ(refusal_of_step(code + std::string("why")),
              "group: what a rank says of its failure is malformed: is it of another version?");
}

TEST(NetworkSaid, HasAnAnswerForEachKind) {
  const std::vector<KindSaid> kinds{KindSaid::kNo, KindSaid::kYes, KindSaid::kUnmapped};
  const std::vector<bool> may_map_nothing{false, false, true};
  const NetworkSaid back = NetworkSaid::unpack(NetworkSaid{kinds, "boot/1"}.pack(), may_map_nothing);
  EXPECT_EQ(back.kinds, kinds);
  EXPECT_EQ(back.host, "boot/1");
  for (const char* said : {"", "yn", "ynx", "yn\xFF", "uyn", "yun"})  // of the first two all rails are mapped, or none
    EXPECT_NE(test::refusal([&] { NetworkSaid::unpack(said, may_map_nothing); }), "") << said;
}

TEST(MemorySaid, IsWholeOrNone) {
  const std::string said = MemorySaid{4096, 8192, {9, 11}, "boot/1"}.pack();
  const MemorySaid back = MemorySaid::unpack(said);
  EXPECT_EQ(back.needed, 4096u);
  EXPECT_EQ(back.promised, 8192u);
  EXPECT_TRUE(back.process == (ProcessIdentity{9, 11}));
  EXPECT_EQ(back.host, "boot/1");
  for (const std::string& wrong : {said + "x", said.substr(1), std::string()})
    EXPECT_NE(test::refusal([&] { MemorySaid::unpack(wrong); }), "");
}

void expect_apart(const char* one, const char* other, const char* line, const char* theirs) {
  const LinesApart apart = first_difference(one, other);
  EXPECT_EQ(apart.one, line) << one << " / " << other;
  EXPECT_EQ(apart.other, theirs) << one << " / " << other;
}

TEST(FirstDifference, EndsWhateverTheTextsAre) {
  expect_apart("a 1\nb 2\n", "a 1\nb 3\n", "b 2", "b 3");
  expect_apart("a 1\nb 2", "a 1\nb 3", "b 2", "b 3");  // no line ends behind the last
  expect_apart("a 1", "a 1\nb 3\n", "", "b 3");
  expect_apart("a 1\nb 2\n", "a 1", "b 2", "");
  expect_apart("a 1\n", "a 1\n", "", "");
  expect_apart("", "", "", "");
  expect_apart("", "\n\nb", "", "b");
  expect_apart("a", "ab", "a", "ab");
}

}  // namespace
}  // namespace transload
