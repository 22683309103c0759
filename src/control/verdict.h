// Suspicion, then verdict: how all ranks of a group come to name the same culprit.
//
// Two state machines take messages and times and return messages, without socket, clock or thread: the control channel
// carries messages between processes, and a simulator runs the same code. Times are ns, of one clock each.
#pragma once
#include <transload/status.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time_units.h"
#include "base/word.h"

namespace transload {

constexpr uint64_t kHeartbeatNs = 100 * kMillisecondNs;
// A rank that is not heard for this long is silent. These are three beats and a half, because a busy host delays one
// or two.
constexpr uint64_t kSilenceNs = 350 * kMillisecondNs;
// A beat counts as later than a suspicion only if it was sent at least this long after the suspicion came, because the
// clocks of two hosts are compared with an error.
constexpr uint64_t kNewsNs = 50 * kMillisecondNs;
// Two clocks are compared by the fastest beat within the current span of this length and the span before it.
constexpr uint64_t kClockSpanNs = 5'000 * kMillisecondNs;
// Beats of ranks that are cut off together stop within one interval, plus one for delays.
constexpr uint64_t kTogetherNs = 2 * kHeartbeatNs;
// After this long a rank that beat right before the suspicion has been heard again, or is silent. This leaves 50 ms of
// the half second in which the arbiter judges.
constexpr uint64_t kJudgeNs = 450 * kMillisecondNs;
// A member that has heard no verdict after this long decides alone. It is the half second in which the arbiter judges,
// and time for the verdict to arrive.
constexpr uint64_t kAnswerNs = 800 * kMillisecondNs;

// How often the carrier of the messages lets the machines act.
constexpr uint64_t kTickNs = 100 * kMillisecondNs;        // period of the arbiter
constexpr uint64_t kTickPendingNs = 20 * kMillisecondNs;  // period of the arbiter while a suspicion waits for a verdict
constexpr uint64_t kWatchNs = 20 * kMillisecondNs;        // period of a member that awaits a verdict
// How long a member waits beyond a deadline that the arbiter keeps too, so that the arbiter's answer can come.
constexpr uint64_t kGraceNs = 300 * kMillisecondNs;

struct Heartbeat {
  uint32_t rank = 0;
  uint64_t epoch = 0;  // epoch of the call in flight, or of the last one
  uint32_t phase = 0;  // a Phase; 0: the rank is idle, unless it waits
  bool waiting = false;
  uint32_t waiting_for = kNobody;
  uint64_t sent = 0;            // time by the rank's own clock: a gap between two beats shows that the rank stood still
  uint64_t entered = 0;         // when the rank entered call `epoch`, by the rank's own clock; 0: not said
  uint64_t entered_before = 0;  // when the rank entered call `epoch` - 1, in which a neighbour may still wait
};

// A wait expired, or cannot end any more: `rank` waited, in the call `epoch`, for a word of `whom`. A rank has one
// suspicion open at a time.
struct Suspicion {
  uint32_t rank = 0;
  uint64_t epoch = 0;
  uint32_t whom = kNobody;
  uint64_t seen = 0;
  uint64_t expected = 0;
  uint64_t waited = 0;   // nanoseconds
  uint64_t overdue = 0;  // ns since the wait's deadline: another suspicion of the rank may have been open until now
  uint64_t sent = 0;     // time by the rank's own clock
  std::string cut = {};  // why the network brings `whom` nothing any more; "": the wait expired
};

// The wait that `rank` suspected has ended as it should: nobody is to blame for it. The rank says so, because beats are
// samples: they do not tell one wait from another, and lag behind what the rank does. The arbiter answers with a
// Withdrawn, or with a verdict that was faster. Until then the call does not return, so that none succeeds in a group
// that has just been judged.
struct Withdrawn {
  uint32_t rank = 0;
};

// The connection of `rank` ended without a goodbye.
struct Lost {
  uint32_t rank = 0;
};

// `rank` has left in peace, after the call `epoch`. A rank that waits for it in a later call waits in vain.
struct Goodbye {
  uint32_t rank = 0;
  uint64_t epoch = 0;
};

// `rank` found that `other` called something else, or with another `argument`. Either may be wrong: the arbiter counts.
struct Mismatch {
  uint32_t rank = 0;
  uint32_t other = 0;
  std::string argument;
  bool certain = false;  // `other` broke a promise, whatever others say; false: it is only known that the two differ
};

// `rank` left a call that it had entered, for a reason of its own.
struct Failed {
  uint32_t rank = 0;
  std::string reason;
};

// `rank` did not come to a gather within the deadline.
struct Missing {
  uint32_t rank = 0;
};

// Who is to blame, for good. kNone: nothing is decided yet.
struct Verdict {
  FaultKind kind = FaultKind::kNone;
  uint32_t culprit = 0;  // kNobody for kRendezvous
  std::string detail;
  bool own_view = false;  // the view of a member that no arbiter answered
};

// Whether the culprit of a verdict is below `ranks`, or kNobody where no rank is to blame.
constexpr bool names_one_of(const Verdict& verdict, uint32_t ranks) {
  if (verdict.kind == FaultKind::kRendezvous) return verdict.culprit == kNobody;
  return verdict.kind != FaultKind::kNone && verdict.culprit < ranks;
}

using Message = std::variant<Heartbeat, Suspicion, Lost, Goodbye, Mismatch, Missing, Verdict, Withdrawn, Failed>;

// Hears every rank of a group, and judges once. What its functions return goes to all members.
class Arbiter {
 public:
  explicit Arbiter(std::vector<uint32_t> node_of_rank);
  // All ranks have come, so their silence counts from now on.
  void start(uint64_t now);
  std::vector<Message> take(const Message& message, uint64_t now);
  std::vector<Message> tick(uint64_t now);
  const Verdict& verdict() const { return verdict_; }
  // A suspicion, or a mismatch, waits for its verdict: tick() is to be called often.
  bool pending() const { return !(pending_.empty() && mismatches_.empty()) && verdict_.kind == FaultKind::kNone; }

 private:
  // How far a rank's clock is behind mine, modulo 2^64. A beat shows that plus the time that it took, which may be
  // long, so the least of recent beats counts. An old one does not: a machine that was suspended has stopped its clock.
  struct ClockGap {
    void learn(uint64_t sent, uint64_t now);
    uint64_t mine(uint64_t its, uint64_t now) const;
    std::optional<uint64_t> least;
    uint64_t least_before = 0;  // the least gap of the span before this one
    uint64_t span_at = 0;       // when this span began
  };
  struct MemberState {
    Heartbeat beat;
    uint64_t heard = 0;
    uint64_t stood_until = 0;  // when the rank was heard again after it had stood still for `stood_for`
    uint64_t stood_for = 0;
    ClockGap clock;
    uint64_t beat_at = 0;            // when `beat` was sent, by my clock
    uint64_t entered_at = 0;         // when the rank entered the call of `beat`, by my clock; 0: long ago
    uint64_t entered_before_at = 0;  // when the rank entered the call before the one of `beat`, by my clock
    bool left = false;
    uint64_t left_after = 0;  // epoch of the last call that the rank made
  };
  struct Case {
    Suspicion suspicion;
    uint64_t at;        // when the suspicion came, by my clock
    uint64_t deadline;  // deadline of the wait, by my clock; a suspicion may come long after it from a busy machine
  };

  struct Look {
    const Case& open;
    uint64_t epoch;  // the earliest call of the ranks followed so far
    uint64_t now;
    bool last_chance() const { return now - open.at >= kJudgeNs; }
  };
  static constexpr size_t kLookedAt = 64;  // cases that are looked at in one go
  static constexpr size_t kCallsAtOnce = 4;

  void notice_own_stop(uint64_t now);
  void hear_beat(const Heartbeat& beat, uint64_t before, uint64_t now);
  void withdraw(uint32_t rank);
  std::vector<Message> conclude(Verdict verdict);
  std::vector<Message> judge_all(uint64_t now);
  std::optional<Verdict> judge(const Case& open, uint64_t now) const;
  std::optional<Verdict> judge_cut(const Case& open, uint64_t now) const;
  Verdict judge_returned(uint32_t waits, uint32_t returned) const;
  std::optional<Verdict> judge_stood(const Case& open) const;
  uint64_t entered(uint32_t rank, uint64_t epoch) const;
  void note_deadline(uint64_t epoch, uint64_t deadline);
  uint64_t first_deadline(const Look& look) const;
  uint32_t entered_late(const Look& look) const;
  bool waits_for_less(uint32_t rank, const Look& look) const;
  uint32_t came_last(const std::vector<uint32_t>& of, const Look& look) const;
  bool may_end(const Look& look) const;
  std::optional<Verdict> judge_live(const Look& look, Verdict otherwise) const;
  std::optional<Verdict> judge_left() const;
  std::optional<Verdict> judge_mismatch(uint64_t now) const;
  uint32_t company(uint32_t rank) const;
  std::vector<Message> judge_missing(uint32_t rank, uint64_t now);
  std::optional<Verdict> judge_silent(uint32_t rank, uint64_t now, bool last_chance) const;
  Verdict judge_cycle(const Look& look, std::vector<uint32_t> cycle) const;
  bool silent(uint32_t rank, uint64_t now) const;

  std::vector<uint32_t> node_of_rank_;
  std::vector<MemberState> ranks_;
  uint64_t latest_wait_ = 0;            // the latest call that anybody waited in
  uint64_t first_left_ = ~uint64_t(0);  // the earliest call that was the last one of a rank that has left
  std::vector<Case> pending_;
  std::map<uint64_t, uint64_t> first_deadlines_;  // the first deadline of the expired waits in each call
  std::vector<Mismatch> mismatches_;
  uint64_t mismatch_at_ = 0;  // when the first mismatch came
  uint64_t looked_at_ = 0;    // when the cases were looked at last
  Verdict verdict_;
  uint64_t last_now_ = 0;
};

// A member's place in its group.
struct MemberSeat {
  uint32_t rank = 0;
  std::vector<uint32_t> node_of_rank;
  bool arbiter_in_rank_0 = true;  // false: a launcher's process holds the arbiter
};

// What a member wants done: messages for the arbiter; the verdict, given exactly once.
struct Reaction {
  std::vector<Message> to_arbiter;
  std::optional<Verdict> verdict;
  bool wait_again = false;  // start the wait again: this process was stopped for most of the wait that expired
};

// Each rank has one for each of its groups.
class Member {
 public:
  Member(MemberSeat seat, uint64_t now);
  // A wait of mine that began at `since` expired. No other suspicion is open, unless it was given up.
  Reaction expired(const Suspicion& suspicion, uint64_t since, uint64_t now);
  // Does what expired() does, for a wait that has been given up and cannot begin again.
  Reaction gave_up(const Suspicion& suspicion, uint64_t since, uint64_t now);
  // The wait that expired has ended as it should.
  Reaction withdraw(uint64_t now);
  Reaction mismatch(const Mismatch& mismatch, uint64_t now);
  // I leave the call that I am in.
  Reaction failed(const std::string& reason, uint64_t now);
  // Takes what the arbiter sends: its heartbeat, a Goodbye of a rank, the answer to my Withdrawn, a Verdict.
  Reaction take(const Message& message, uint64_t now);
  // The connection to the arbiter ended.
  Reaction arbiter_gone(uint64_t now);
  // The arbiter said what no arbiter says, and is not listened to any more.
  Reaction arbiter_garbled(uint64_t now);
  // Makes me decide: I wait no longer for the arbiter's answer, or my call failed and nothing else says why.
  Reaction give_up(uint64_t now);
  // `mine`: my state, as my next beat would give it.
  Reaction tick(const Heartbeat& mine, uint64_t now);

  // Whether this process was stopped, or starved, after `since`.
  bool stopped_since(uint64_t since, uint64_t now);
  // Whether the arbiter owes me an answer.
  bool suspecting() const { return (suspecting_ || unanswered_ > 0) && verdict_.kind == FaultKind::kNone; }
  bool said_goodbye(uint32_t rank) const { return left_after_[rank].has_value(); }
  const Verdict& verdict() const { return verdict_; }

 private:
  // Returns the latest time given so far: threads read the clock before they take turns. Notices an own stop.
  uint64_t advance(uint64_t now);
  Reaction conclude(Verdict verdict, bool tell);
  Reaction file(const Suspicion& suspicion, uint64_t since, uint64_t now);
  Verdict own_view(uint64_t now) const;
  Verdict without_arbiter() const;
  FaultKind out_of_reach(uint32_t rank) const;

  MemberSeat seat_;
  std::vector<std::optional<uint64_t>> left_after_;  // [ranks] the last call of a rank that has left
  Verdict verdict_;
  std::optional<Suspicion> suspicion_;  // the latest suspicion of this rank
  Mismatch mismatch_;
  bool suspecting_ = false;
  uint32_t unanswered_ = 0;  // withdrawals that the arbiter has not answered
  bool accusing_mismatch_ = false;
  std::optional<std::string> failed_;
  bool gone_ = false;
  uint64_t suspecting_since_ = 0;
  uint64_t arbiter_heard_;
  uint64_t last_now_;
  uint64_t stopped_from_ = 0;
  uint64_t stopped_until_ = 0;
};

}  // namespace transload
