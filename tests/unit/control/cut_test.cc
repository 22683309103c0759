// A network that says at once that it brings a rank nothing any more: no deadline has passed, so nobody is late.
#include <gtest/gtest.h>

#include "control/verdict.h"

namespace transload {
namespace {

constexpr uint64_t kBegun = 5'000 * kMillisecondNs, kCutAt = kBegun + 200 * kMillisecondNs;
const std::vector<uint32_t> kNodesOfTwo{0, 0, 1, 1};

// Rank 1 says that its way to rank 3 is cut, in the call 4.
class CutWay : public testing::Test {
 protected:
  CutWay() {
    arbiter_.start(kBegun);
    for (uint32_t rank = 0; rank < kNodesOfTwo.size(); ++rank) beat(rank, 3, 0, kBegun);
    for (uint32_t rank = 0; rank < 3; ++rank) beat(rank, 4, kBegun + 100 * kMillisecondNs, kCutAt);
    arbiter_.take(suspicion(1, 3, kCutAt, "its queue failed"), kCutAt);
  }

  // In the call 4.
  static Suspicion suspicion(uint32_t rank, uint32_t whom, uint64_t sent, const std::string& cut = {}) {
    Suspicion said;
    said.rank = rank;
    said.epoch = 4;
    said.whom = whom;
    said.waited = 1'000 * kMillisecondNs;
    said.sent = sent;
    said.cut = cut;
    return said;
  }
  // In a phase of the call `epoch`, which it entered then.
  void beat(uint32_t rank, uint64_t epoch, uint64_t entered, uint64_t now) {
    Heartbeat beat;
    beat.rank = rank;
    beat.epoch = epoch;
    beat.phase = epoch == 3 ? 0 : 1;
    beat.sent = now;
    beat.entered = entered;
    take(beat, now);
  }
  void take(const Message& message, uint64_t now) {
    for (const Message& said : arbiter_.take(message, now)) last_ = std::get<Verdict>(said);
  }
  void tick(uint64_t now) {
    for (const Message& said : arbiter_.tick(now)) last_ = std::get<Verdict>(said);
  }

  Arbiter arbiter_{kNodesOfTwo};
  std::optional<Verdict> last_;
};

TEST_F(CutWay, NamesTheWayAndNotWhoCameAfterIt) {
  const uint64_t later = kCutAt + 4 * kMillisecondNs;
  beat(3, 4, later, later + 100 * kMillisecondNs);
  ASSERT_TRUE(last_);
  EXPECT_EQ(last_->kind, FaultKind::kUnreachable);
  EXPECT_EQ(last_->culprit, 1u);
  EXPECT_EQ(last_->detail, "the network brings nothing of rank 1 to rank 3: its queue failed");
}

TEST_F(CutWay, NamesTheWayThoughItsEndIsInNoCall) {
  beat(3, 3, 0, kCutAt + 100 * kMillisecondNs);
  ASSERT_TRUE(last_);
  EXPECT_EQ(last_->kind, FaultKind::kUnreachable);
  EXPECT_EQ(last_->culprit, 1u);
}

TEST_F(CutWay, NamesARankThatIsNotHeardOf) {
  for (uint64_t now = kCutAt; now < kCutAt + kJudgeNs && !last_; now += kHeartbeatNs / 2) {
    for (uint32_t rank = 0; rank < 3; ++rank) beat(rank, 4, kBegun + 100 * kMillisecondNs, now);
    tick(now);
  }
  ASSERT_TRUE(last_);
  EXPECT_EQ(last_->kind, FaultKind::kSilent);
  EXPECT_EQ(last_->culprit, 3u);
}

TEST_F(CutWay, IsNoDeadlineOfOthers) {
  take(Withdrawn{1}, kCutAt);
  const uint64_t entered = kCutAt + 300 * kMillisecondNs, expired = kCutAt + 1'000 * kMillisecondNs;
  for (uint64_t now = kCutAt + kHeartbeatNs; now < expired + 2 * kJudgeNs && !last_; now += kHeartbeatNs) {
    for (uint32_t rank = 0; rank < 3; ++rank) beat(rank, 4, kBegun + 100 * kMillisecondNs, now);
    beat(3, now < entered ? 3 : 4, now < entered ? 0 : entered, now);
    if (now == expired) take(suspicion(0, 2, now), now);
  }
  ASSERT_TRUE(last_);
  EXPECT_EQ(last_->detail, "it is in the call but makes no progress, and waits for nobody");
}

}  // namespace
}  // namespace transload
