// The list of a group's options: each one is checked against its own bounds, and found by its name.
#include "runtime/group_options.h"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>

#include "runtime/check_inputs.h"
#include "runtime/choices.h"

namespace transload::test {
namespace {

GroupOptions good_options() {
  GroupOptions options;
  options.topology.node_sizes = {1};
  options.bootstrap.ranks = 1;
  return options;
}

// Why options are refused in which the option of that name has this value; "" if they are not.
std::string refusal(const std::string& name, uint64_t value) {
  GroupOptions options = good_options();
  for_each_option(options, [&](const OptionFacts& facts, auto& field) {
    if (facts.name == name) field = std::remove_reference_t<decltype(field)>(value);
  });
  try {
    check_options(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(GroupOptions, EachHasItsBounds) {
  uint32_t seen = 0;
  const GroupOptions options = good_options();
  for_each_option(options, [&](const OptionFacts& facts, const auto& field) {
    ++seen;
    const std::string name = facts.name;
    EXPECT_EQ(refusal(name, facts.least), "");
    EXPECT_EQ(refusal(name, facts.most), "");
    const std::string bound = ", must be " + std::to_string(facts.least) + " to " + std::to_string(facts.most);
    EXPECT_EQ(refusal(name, facts.most + 1), name + ": " + std::to_string(facts.most + 1) + bound);
    if (facts.least > 0) {
      EXPECT_EQ(refusal(name, 0), facts.zero_too ? "" : name + ": 0" + bound);
    }
    if (facts.unit > 1) {
      EXPECT_EQ(refusal(name, facts.least + 1), name + ": " + std::to_string(facts.least + 1) +
                                                    ", must be a multiple of " + std::to_string(facts.unit));
    }
    EXPECT_TRUE(uint64_t(field) >= facts.least || facts.zero_too) << name << ": its default is out of bounds";
    EXPECT_EQ(option_facts(name).most, facts.most);
  });
  EXPECT_GE(seen, 12u);
}

TEST(GroupOptions, LimitsAreTheBounds) {
  const Limits most = limits();
  EXPECT_EQ(refusal("channels", most.channels_max), "");
  EXPECT_NE(refusal("channels", most.channels_max + 1), "");
  EXPECT_EQ(refusal("row_bytes_max", most.token_bytes_max), "");
  EXPECT_NE(refusal("row_bytes_max", most.token_bytes_max + most.token_bytes_unit), "");
}

TEST(Choices, AWordForEachValue) {
  EXPECT_EQ(all_choices<Landing>(), "auto, direct or ring");
  EXPECT_EQ(all_choices<Overflow>(), "fail or drop");
  EXPECT_EQ(choice_of<CombineSource>("push"), CombineSource::kPush);
  EXPECT_EQ(choice_of<CombineSource>("pushed"), std::nullopt);
  EXPECT_STREQ(word_of(CombineWire::kF32), "fp32");
  EXPECT_STREQ(word_of(ScaleOutChoice(9)), "?");
}

}  // namespace
}  // namespace transload::test
