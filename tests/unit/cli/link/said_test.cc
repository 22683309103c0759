// What ranks of a link say: read as it was said, or refused with who said it.
#include "cli/link/said.h"

#include <gtest/gtest.h>

#include <functional>

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

std::string refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(LinkSaid, NumbersAreWhole) {
  EXPECT_EQ(NumberSaid::unpack(4, NumberSaid::pack(~uint64_t(0))), ~uint64_t(0));
  for (const std::string& said : {NumberSaid::pack(1) + "x", NumberSaid::pack(1).substr(1), std::string()})
    EXPECT_EQ(refusal_of([&] { NumberSaid::unpack(4, said); }),
              "link: rank 4 says " + std::to_string(said.size()) +
                  " bytes, must be the 8 of a number: is it of another version?");
}

TEST(LinkSaid, MemoryIsWhole) {
  const std::string said = RawMemorySaid{1, 2, "where"}.pack();
  const RawMemorySaid back = RawMemorySaid::unpack(4, said);
  EXPECT_EQ(back.key, 1u);
  EXPECT_EQ(back.base, 2u);
  EXPECT_EQ(back.endpoint, "where");
  for (const std::string& wrong : {said + "x", said.substr(1), std::string()})
    EXPECT_NE(refusal_of([&] { RawMemorySaid::unpack(4, wrong); }).find("what rank 4 says of its memory"),
              std::string::npos);
}

TEST(LinkSaid, CountsAreNoMoreThanCanHaveCome) {
  EXPECT_EQ(bounded_count(4, "rows put", 16, 16), 16u);
  EXPECT_EQ(refusal_of([] { bounded_count(4, "rows put", 17, 16); }),
            "link: rank 4 counts 17 rows put, must be at most 16");
}

}  // namespace
}  // namespace transload::cli
