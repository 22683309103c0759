// A rank that leaves its call says so: it is named at once, whoever suspects whom by then.
#include <gtest/gtest.h>

#include "control/verdict.h"

namespace transload {
namespace {

constexpr uint64_t kNow = 5'000 * kMillisecondNs;
const std::vector<uint32_t> kNodes{0, 0, 1, 1};

TEST(Failed, NamesItselfAtOnce) {
  Arbiter arbiter(kNodes);
  arbiter.start(kNow);
  arbiter.take(Suspicion{0, 4, 1, 7, 8, 1'000 * kMillisecondNs}, kNow);
  Member member({3, kNodes, true}, kNow);
  const Reaction said = member.failed("out of memory", kNow);
  ASSERT_EQ(said.to_arbiter.size(), 1u);
  EXPECT_TRUE(member.suspecting()) << "it waits for the verdict";
  EXPECT_TRUE(member.failed("again", kNow).to_arbiter.empty());
  const std::vector<Message> told = arbiter.take(said.to_arbiter[0], kNow);
  ASSERT_EQ(told.size(), 1u);
  const auto& verdict = std::get<Verdict>(told[0]);
  EXPECT_EQ(verdict.kind, FaultKind::kFailed);
  EXPECT_EQ(verdict.culprit, 3u);
  EXPECT_EQ(verdict.detail, "out of memory");
  EXPECT_TRUE(member.take(verdict, kNow).verdict);
}

TEST(Failed, KnowsItselfWhereNobodyJudges) {
  Member member({3, kNodes, true}, kNow);
  member.failed("out of memory", kNow);
  const Reaction alone = member.give_up(kNow + 1);
  ASSERT_TRUE(alone.verdict);
  EXPECT_EQ(alone.verdict->kind, FaultKind::kFailed);
  EXPECT_EQ(alone.verdict->culprit, 3u);
  EXPECT_EQ(alone.verdict->detail, "out of memory");
}

TEST(Failed, IsNotTakenBack) {
  Member member({3, kNodes, true}, kNow);
  member.failed("out of memory", kNow);
  EXPECT_TRUE(member.withdraw(kNow).to_arbiter.empty());
  EXPECT_TRUE(member.suspecting());
}

}  // namespace
}  // namespace transload
