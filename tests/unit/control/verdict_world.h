// A group of members and their arbiter in time driven by hand.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/verdict.h"
#include "tests/support/milliseconds.h"

namespace transload::test {

constexpr uint32_t kBusy = 2;  // some phase of a call
inline const std::vector<uint32_t> kTwoNodes{0, 0, 0, 0, 1, 1, 1, 1};

// What one says the other hears at once. Every rank beats each 100 ms, at a time of its own, unless it is stopped, cut
// off or dead.
class VerdictWorld {
 public:
  struct Rank {
    bool stopped = false, cut = false, dead = false;
    uint64_t epoch = 1;
    uint32_t phase = kBusy;
    uint32_t waits_for = kNobody;
    uint64_t entered = 0;  // its call; 0: long ago
    uint64_t entered_before = 0;
    uint64_t slow = 0;  // what it says takes so long to the arbiter
    std::vector<Verdict> verdicts;
    uint64_t judged_at = 0;
  };

  explicit VerdictWorld(std::vector<uint32_t> nodes, bool arbiter_in_rank_0 = true)
      : ranks(nodes.size()), arbiter_(nodes), in_rank_0_(arbiter_in_rank_0) {
    for (uint32_t rank = 0; rank < nodes.size(); ++rank)
      members_.emplace_back(MemberSeat{rank, nodes, arbiter_in_rank_0}, now);
    arbiter_.start(now);
  }

  void run(uint64_t duration) {
    for (const uint64_t end = now + duration; now < end; now += 10 * ms) step();
  }
  // Runs until everybody that lives has a verdict; the time from now until then.
  uint64_t run_until_judged(const std::set<uint32_t>& not_these = {}) {
    const uint64_t from = now;
    while (now - from < 3000 * ms) {
      bool all = true;
      for (uint32_t rank = 0; rank < ranks.size(); ++rank)
        all &= ranks[rank].dead || ranks[rank].stopped || not_these.count(rank) || !ranks[rank].verdicts.empty();
      if (all) break;
      run(10 * ms);
    }
    return now - from;
  }
  // The wait of a rank, begun `waited` ago, expires, or did so `overdue` ago. True if it accuses.
  bool expire(uint32_t rank, uint32_t whom, uint64_t waited = 1000 * ms, uint64_t overdue = 0) {
    const Suspicion suspicion{rank, ranks[rank].epoch, whom, 3, 7, 0, overdue};
    const Reaction reaction = members_[rank].expired(suspicion, now - waited, now);
    take(rank, reaction);
    return !reaction.wait_again;
  }
  void withdraw(uint32_t rank) { take(rank, members_[rank].withdraw(now)); }
  void enter(uint32_t rank, uint64_t epoch) {
    ranks[rank].epoch = epoch;
    ranks[rank].phase = kBusy;
    ranks[rank].entered_before = std::exchange(ranks[rank].entered, now);
  }
  void mismatch(uint32_t rank, uint32_t other) {
    take(rank, members_[rank].mismatch({rank, other, "tokens_max"}, now));
  }
  void goodbye(uint32_t rank) {
    to_arbiter(rank, Goodbye{rank, ranks[rank].epoch});
    left_.insert(rank);
  }
  // The connection ends: the process died, or left.
  void end_of_file(uint32_t rank) {
    ranks[rank].dead = true;
    if (rank == 0 && in_rank_0_) {
      for (uint32_t other = 1; other < ranks.size(); ++other) take(other, members_[other].arbiter_gone(now));
    } else {
      broadcast(arbiter_.take(Lost{rank}, now));
    }
  }
  void expect(FaultKind kind, uint32_t culprit, const std::set<uint32_t>& not_these = {}) {
    for (uint32_t rank = 0; rank < ranks.size(); ++rank) {
      if (ranks[rank].dead || ranks[rank].stopped || not_these.count(rank)) continue;
      ASSERT_EQ(ranks[rank].verdicts.size(), 1u) << "rank " << rank;
      EXPECT_EQ(name_of(ranks[rank].verdicts[0].kind), std::string(name_of(kind))) << "rank " << rank;
      EXPECT_EQ(ranks[rank].verdicts[0].culprit, culprit) << "rank " << rank << ": " << ranks[rank].verdicts[0].detail;
    }
  }
  bool any_verdict() const {
    for (const Rank& rank : ranks)
      if (!rank.verdicts.empty()) return true;
    return false;
  }
  // The launcher's process ends.
  void end_launcher() {
    launcher_over_ = true;
    for (uint32_t rank = 0; rank < ranks.size(); ++rank)
      if (!ranks[rank].dead) take(rank, members_[rank].arbiter_gone(now));
  }
  const Member& member(uint32_t rank) const { return members_[rank]; }

  std::vector<Rank> ranks;
  bool launcher_stopped = false;
  uint64_t now = 10'000 * ms;

 private:
  bool arbiter_runs() const {
    return in_rank_0_ ? !ranks[0].stopped && !ranks[0].dead : !launcher_stopped && !launcher_over_;
  }
  // A cut rank reaches its own side; the arbiter is on rank 0's.
  bool reaches_arbiter(uint32_t rank) const { return !ranks[rank].cut; }

  void step() {
    for (uint32_t rank = 0; rank < ranks.size(); ++rank) {
      Rank& r = ranks[rank];
      if (r.dead || r.stopped) continue;
      const bool waits = r.waits_for != kNobody;
      const Heartbeat beat{rank, r.epoch, r.phase, waits, r.waits_for, now, r.entered, r.entered_before};
      if ((now / ms + 10 * (rank % 10)) % 100 == 0 && !left_.count(rank)) to_arbiter(rank, beat);
      if (!left_.count(rank)) take(rank, members_[rank].tick(beat, now));
    }
    if (!arbiter_runs()) return;
    for (const auto& [rank, message] : std::exchange(held_, {})) hear(rank, message);
    for (const Slow& slow : std::exchange(slow_, {})) {
      if (slow.due > now)
        slow_.push_back(slow);
      else
        to_arbiter(slow.rank, slow.message, true);
    }
    broadcast(arbiter_.tick(now));
    if (now / ms % 100 == 0) broadcast({Heartbeat{}});
  }
  void to_arbiter(uint32_t rank, const Message& message, bool travelled = false) {
    if (!reaches_arbiter(rank)) return;
    const auto before = [&](const Slow& slow) { return slow.rank == rank; };
    if (!travelled && (ranks[rank].slow > 0 || std::any_of(slow_.begin(), slow_.end(), before)))
      return slow_.push_back({rank, message, now + ranks[rank].slow});
    if (!arbiter_runs() || !held_.empty()) return held_.push_back({rank, message});
    hear(rank, message);
  }
  void hear(uint32_t rank, const Message& message) {
    broadcast(arbiter_.take(message, now));
    if (std::holds_alternative<Withdrawn>(message)) take(rank, members_[rank].take(message, now));
  }
  void take(uint32_t rank, const Reaction& reaction) {
    if (reaction.verdict) {
      ranks[rank].verdicts.push_back(*reaction.verdict);
      ranks[rank].judged_at = now;
    }
    for (const Message& message : reaction.to_arbiter) to_arbiter(rank, message);
  }
  void broadcast(const std::vector<Message>& messages) {
    for (const Message& message : messages) {
      for (uint32_t rank = 0; rank < ranks.size(); ++rank) {
        if (!ranks[rank].dead && !ranks[rank].stopped && reaches_arbiter(rank) && !left_.count(rank))
          take(rank, members_[rank].take(message, now));
      }
    }
  }

  struct Slow {
    uint32_t rank;
    Message message;
    uint64_t due;
  };

  Arbiter arbiter_;
  std::vector<Member> members_;
  std::vector<Slow> slow_;  // on their way
  std::vector<std::pair<uint32_t, Message>> held_;
  std::set<uint32_t> left_;
  const bool in_rank_0_;
  bool launcher_over_ = false;
};

}  // namespace transload::test
