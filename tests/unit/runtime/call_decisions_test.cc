// Which way a call goes, and the words that a user reads of it.
#include "runtime/call/decisions.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

void expect_choice(const CallChoice& choice, bool reachable, const char* name, const char* why) {
  EXPECT_EQ(choice.reachable, reachable) << why;
  EXPECT_STREQ(choice.name, name) << why;
  EXPECT_EQ(choice.why, why);
}

TEST(CallChoice, OfLandings) {
  const LandingRoom all{.bytes = 640, .leased = true};
  for (const Landing asked : {Landing::kAuto, Landing::kDirect})
    expect_choice(landing_of(asked, all), true, "direct", "a lease of 640 bytes was had");
  expect_choice(landing_of(Landing::kRing, all), false, "ring", "asked for");
  LandingRoom own = all;
  own.outside = "out_x";
  expect_choice(landing_of(Landing::kAuto, own), false, "ring", "out_x is not in a lease");
  const LandingRoom none{.bytes = 640, .leased = false, .gap_bytes = 128};
  for (const Landing asked : {Landing::kAuto, Landing::kDirect})
    expect_choice(landing_of(asked, none), false, "ring",
                  "no room in the slabs for 640 bytes: the longest free stretch has 128");
  expect_choice(landing_of(Landing::kRing, none), false, "ring", "asked for");
}

TEST(CallChoice, OfSources) {
  expect_choice(source_of(CombineSource::kAuto, true), true, "pull", "x lies in a lease");
  expect_choice(source_of(CombineSource::kAuto, false), false, "push", "x lies outside the leases");
  expect_choice(source_of(CombineSource::kPull, true), true, "pull", "asked for");
  expect_choice(source_of(CombineSource::kPush, true), false, "push", "asked for");
  expect_choice(source_of(CombineSource::kPush, false), false, "push", "asked for");
}

}  // namespace
}  // namespace transload
