// What a rank on a GPU concludes when a verdict comes, a call begins and ends, a deadline passes, a promise is broken,
// a context is lost or its proxy stands still.
#include "runtime/kernel_watch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/time_units.h"
#include "kernels/device_call.h"

namespace transload {
namespace {

constexpr uint32_t kMyRank = 3, kOther = 5;
constexpr uint32_t kDeadline = 1000;  // ms

// Between two calls, the last of which was the 7th.
KernelLook at_rest() { return {.ended = 7, .phase = Phase::kCombine, .deadline_ms = kDeadline}; }

KernelConclusion conclusion(const KernelLook& look) { return KernelWatch(kMyRank).look(look); }

DeviceFault expired(Waiting what) {
  return {.set = Word(DeviceFailure::kExpired),
          .rank = kMyRank,
          .role = Word(Role::kForwarder),
          .channel = 2,
          .whom = kOther,
          .what = Word(what),
          .seen = 11,
          .expected = 12,
          .deadline_ns = kDeadline * kMillisecondNs};
}

DeviceFault broken(Broken what, Role role = Role::kForwarder) {
  DeviceFault fault = expired(Waiting::kTokens);
  fault.set = Word(DeviceFailure::kBroken);
  fault.role = Word(role);
  fault.what = Word(what);
  return fault;
}

TEST(KernelWatch, KernelsLeaveAfterAVerdict) {
  KernelLook look = at_rest();
  EXPECT_FALSE(conclusion(look).leave);
  look.judged = true;
  EXPECT_TRUE(conclusion(look).leave);
}

TEST(KernelWatch, AfterACallItIsIdle) {
  KernelLook look = at_rest();
  look.turns = 1;
  const KernelConclusion concluded = conclusion(look);
  EXPECT_EQ(concluded.epoch, 7u);
  EXPECT_EQ(concluded.phase, Phase::kIdle);
  EXPECT_EQ(concluded.whom, kNobody);
  EXPECT_TRUE(concluded.rest);
  look.turns = std::nullopt;
  EXPECT_FALSE(conclusion(look).rest) << "there is no proxy";
}

// Each sign alone: a thread gives it kernels, a kernel runs, one waits, or the stream has not come to its end.
TEST(KernelWatch, EverySignOfACallCounts) {
  std::vector<KernelLook> signs(5, at_rest());
  signs[0].on_stream = true;
  signs[1].running = running_word(8, uint32_t(Phase::kCombine));
  signs[2].waits_for.peer = kOther + 1;
  signs[3].waits_for.to_finish = kOther + 1;
  signs[4].behind = true;
  for (KernelLook& look : signs) {
    look.turns = 1;
    const size_t sign = size_t(&look - signs.data());
    const KernelConclusion concluded = conclusion(look);
    EXPECT_EQ(concluded.epoch, 8u) << sign;
    EXPECT_EQ(concluded.phase, Phase::kCombine) << sign;
    EXPECT_FALSE(concluded.rest) << sign;
    EXPECT_EQ(concluded.whom, sign == 2 || sign == 3 ? kOther : kNobody) << sign;
  }
}

// A replay's kernel says more than the thread, which has not made that call.
TEST(KernelWatch, ARunningKernelSaysWhichCallItIs) {
  KernelLook look = at_rest();
  look.running = running_word(9, uint32_t(Phase::kNotify));
  EXPECT_EQ(conclusion(look).epoch, 9u);
  EXPECT_EQ(conclusion(look).phase, Phase::kNotify);
}

TEST(KernelWatch, ARankDoesNotWaitForItself) {
  KernelLook look = at_rest();
  look.waits_for.peer = kMyRank + 1;
  EXPECT_EQ(conclusion(look).whom, kNobody);
}

TEST(KernelWatch, AnExpiredWaitIsASuspicionOnce) {
  KernelWatch watch(kMyRank);
  EXPECT_FALSE(watch.complain({}, 7)) << "nothing has failed";
  const auto complaint = watch.complain(expired(Waiting::kTokens), 7);
  ASSERT_TRUE(complaint);
  EXPECT_EQ(complaint->about, Complaint::About::kLateRank);
  EXPECT_EQ(complaint->suspicion.rank, kMyRank);
  EXPECT_EQ(complaint->suspicion.epoch, 8u);
  EXPECT_EQ(complaint->suspicion.whom, kOther);
  EXPECT_EQ(complaint->suspicion.seen, 11u);
  EXPECT_EQ(complaint->suspicion.expected, 12u);
  EXPECT_EQ(complaint->waited_ns, kDeadline * kMillisecondNs);
  EXPECT_FALSE(watch.complain(expired(Waiting::kTokens), 7)) << "it was told";
}

TEST(KernelWatch, WhoeverHasNoRoomForCommandsFailsItself) {
  const auto complaint = KernelWatch(kMyRank).complain(expired(Waiting::kRoom), 7);
  ASSERT_TRUE(complaint);
  EXPECT_EQ(complaint->about, Complaint::About::kOwnRank);
  EXPECT_EQ(complaint->text, "its proxy takes no commands");
}

// A grant names who broke its promise. A card does not: two differ. Nor does a header, as no cards were compared yet.
TEST(KernelWatch, ABrokenPromiseNamesWhoIsCertainToHaveBrokenIt) {
  for (const auto& [what, certain] :
       {std::pair{Broken::kGrant, true}, {Broken::kHandle, false}, {Broken::kHeader, false}}) {
    const auto complaint = KernelWatch(kMyRank).complain(broken(what), 7);
    ASSERT_TRUE(complaint);
    EXPECT_EQ(complaint->about, Complaint::About::kBrokenPromise);
    EXPECT_EQ(complaint->culprit, kOther);
    EXPECT_EQ(complaint->certain, certain) << int(what);
    EXPECT_NE(complaint->text.find("rank " + std::to_string(kOther)), std::string::npos) << complaint->text;
  }
}

// The host made them leave, because of a verdict: there is nothing to add to it.
TEST(KernelWatch, KernelsThatWereMadeToLeaveComplainOfNobody) {
  KernelWatch watch(kMyRank);
  DeviceFault fault = expired(Waiting::kTokens);
  fault.set = Word(DeviceFailure::kAborted);
  EXPECT_FALSE(watch.complain(fault, 7));
  EXPECT_FALSE(wait_of(fault).present);
}

TEST(KernelWatch, AFaultSaysWhatTheKernelWaitedFor) {
  EXPECT_FALSE(wait_of({}).present);
  EXPECT_FALSE(wait_of(broken(Broken::kGrant)).present);
  const WaitRecord wait = wait_of(expired(Waiting::kCredit));
  EXPECT_TRUE(wait.present);
  EXPECT_EQ(wait.role, Role::kForwarder);
  EXPECT_EQ(wait.channel, 2);
  EXPECT_EQ(wait.what, Waiting::kCredit);
  EXPECT_EQ(wait.whom, kOther);
  EXPECT_EQ(wait.seen, 11u);
  EXPECT_EQ(wait.expected, 12u);
  EXPECT_EQ(wait.waited_ms, kDeadline);
}

TEST(KernelWatch, ALostContextIsToldOnce) {
  KernelWatch watch(kMyRank);
  KernelLook look = at_rest();
  look.lost_context = "unspecified launch failure";
  EXPECT_EQ(watch.look(look).failures,
            std::vector<std::string>{"its GPU's context is lost: unspecified launch failure"});
  EXPECT_TRUE(watch.look(look).failures.empty());
}

// How many looks in a row find the proxy where it was until it is told of; `most`: it was not by then.
uint32_t looks_until_stuck(KernelWatch& watch, const KernelLook& look, uint32_t most) {
  for (uint32_t looks = 1; looks <= most; ++looks)
    if (!watch.look(look).failures.empty()) return looks;
  return most;
}

KernelLook with_proxy(uint64_t turns, uint32_t deadline_ms) {
  KernelLook look = at_rest();
  look.on_stream = true;
  look.turns = turns;
  look.deadline_ms = deadline_ms;
  return look;
}

// Half of a call's deadline, so that it is told before others accuse each other.
TEST(KernelWatch, AProxyThatStandsStillIsToldOnce) {
  KernelWatch watch(kMyRank);
  watch.look(with_proxy(4, kDeadline));  // from here on it is known how far it was
  const uint32_t patience = kDeadline / 2 / kLookMs;
  EXPECT_EQ(looks_until_stuck(watch, with_proxy(4, kDeadline), 2 * patience), patience + 1);
  EXPECT_EQ(looks_until_stuck(watch, with_proxy(4, kDeadline), 2 * patience), 2 * patience);
}

TEST(KernelWatch, AProxyMayNapThoughTheDeadlineIsShort) {
  KernelWatch watch(kMyRank);
  watch.look(with_proxy(4, 50));
  EXPECT_EQ(looks_until_stuck(watch, with_proxy(4, 50), 100), 200 / kLookMs + 1);
}

TEST(KernelWatch, AProxyThatTurnsOrRestsIsNotStuck) {
  KernelWatch watch(kMyRank);
  const uint32_t patience = kDeadline / 2 / kLookMs;
  for (uint32_t turn = 1; turn < 3; ++turn)
    EXPECT_EQ(looks_until_stuck(watch, with_proxy(turn, kDeadline), patience), patience);
  KernelLook idle = with_proxy(2, kDeadline);
  idle.on_stream = false;
  EXPECT_EQ(looks_until_stuck(watch, idle, 2 * patience), 2 * patience);
  EXPECT_EQ(looks_until_stuck(watch, with_proxy(2, kDeadline), patience), patience) << "it is counted anew";
}

}  // namespace
}  // namespace transload
