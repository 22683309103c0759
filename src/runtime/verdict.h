// Suspicion, then verdict: how all ranks of a group come to name the same culprit.
//
// Two state machines that take messages and times and return messages. No socket, clock or thread: the control channel
// carries them between processes, and a simulator runs the very same code. Times are nanoseconds, of one clock each.
#pragma once
#include <transload/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/canary.h"
#include "base/word.h"

namespace transload {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr uint64_t kHeartbeatNs = 100 * kMillisecondNs;
// Three beats and a half: a busy host delays one or two, and the answer must still come within half a second.
constexpr uint64_t kSilenceNs = 350 * kMillisecondNs;
// A beat that comes so long after a suspicion was sent after it: what it says of its rank is news.
constexpr uint64_t kNewsNs = 50 * kMillisecondNs;
// Beats of ranks that are cut off together stop within one interval, plus one for delays.
constexpr uint64_t kTogetherNs = 2 * kHeartbeatNs;
// By now a rank that beat right before the suspicion is either heard again or silent. Leaves 50 ms of half a second.
constexpr uint64_t kJudgeNs = 450 * kMillisecondNs;
// A member that has heard no verdict by then decides alone: the arbiter's half second, and room for its delivery.
constexpr uint64_t kAnswerNs = 800 * kMillisecondNs;

// What carries the messages lets the machines act so often.
constexpr uint64_t kTickNs = 100 * kMillisecondNs;        // the arbiter
constexpr uint64_t kTickPendingNs = 20 * kMillisecondNs;  // the arbiter, while a suspicion waits for its verdict
constexpr uint64_t kWatchNs = 20 * kMillisecondNs;        // a member that awaits a verdict
constexpr uint64_t kGraceNs = 300 * kMillisecondNs;       // for the arbiter's answer after a deadline of its own

struct Heartbeat {
  uint32_t rank = 0;
  uint64_t epoch = 0;  // of the call in flight, or of the last one
  uint32_t phase = 0;  // Phase; 0: idle, unless it waits
  bool waiting = false;
  uint32_t waiting_for = kNobody;
  uint64_t sent = 0;  // by the rank's own clock: between two beats it shows that the rank itself stood still
};

// A wait expired: `rank` waited, in the call `epoch`, for a word of `whom`.
struct Suspicion {
  uint32_t rank = 0;
  uint64_t epoch = 0;
  uint32_t whom = kNobody;
  uint64_t seen = 0;
  uint64_t expected = 0;
  uint64_t waited = 0;  // ns
};

// Its connection ended without a goodbye.
struct Lost {
  uint32_t rank = 0;
};

struct Goodbye {
  uint32_t rank = 0;
};

// `rank` found that `other` called something else, or with another `argument`.
struct Mismatch {
  uint32_t rank = 0;
  uint32_t other = 0;
  std::string argument;
};

// `rank` left a call that it had entered, for a reason of its own.
struct Failed {
  uint32_t rank = 0;
  std::string reason;
};

// It did not come to a gather within the deadline.
struct Missing {
  uint32_t rank = 0;
};

// The last word. kNone: none yet.
struct Verdict {
  FaultKind kind = FaultKind::kNone;
  uint32_t culprit = 0;
  std::string detail;
};

using Message = std::variant<Heartbeat, Suspicion, Lost, Goodbye, Mismatch, Missing, Verdict, Failed>;

// One a group: hears every rank, judges once. What it returns goes to all members.
template <class Plants>
class BasicArbiter {
 public:
  explicit BasicArbiter(std::vector<uint32_t> node_of_rank);
  // Everybody is here.
  void start(uint64_t now);
  std::vector<Message> take(const Message& message, uint64_t now);
  std::vector<Message> tick(uint64_t now);
  const Verdict& verdict() const { return verdict_; }
  // A suspicion waits for its verdict: tick often.
  bool pending() const { return !pending_.empty() && verdict_.kind == FaultKind::kNone; }

 private:
  struct Rank {
    Heartbeat beat;
    uint64_t heard = 0;
    uint64_t stood_until = 0;  // it stood still for `stood_for`, and was heard again then
    uint64_t stood_for = 0;
    bool left = false;
  };
  struct Case {
    Suspicion suspicion;
    uint64_t at;
  };

  void notice_own_stop(uint64_t now);
  std::vector<Message> conclude(FaultKind kind, uint32_t culprit, std::string detail);
  std::vector<Message> judge_all(uint64_t now);
  std::optional<Verdict> judge(const Case& open, uint64_t now) const;
  Verdict judge_returned(uint32_t waits, uint32_t returned) const;
  std::optional<Verdict> judge_live(const Case& open, Verdict otherwise) const;
  std::vector<Message> judge_missing(uint32_t rank, uint64_t now);
  std::optional<Verdict> judge_silent(uint32_t rank, uint64_t now, bool last_chance) const;
  Verdict judge_cycle(const std::vector<uint32_t>& path, uint32_t again) const;
  bool silent(uint32_t rank, uint64_t now) const;

  std::vector<uint32_t> node_of_rank_;
  std::vector<Rank> ranks_;
  std::vector<Case> pending_;
  Verdict verdict_;
  uint64_t last_now_ = 0;
};

// Where a member sits.
struct MemberSeat {
  uint32_t rank = 0;
  std::vector<uint32_t> node_of_rank;
  bool arbiter_in_rank_0 = true;  // else a launcher's process holds it
};

// What a member wants done: messages for the arbiter; the verdict, given exactly once.
struct Reaction {
  std::vector<Message> to_arbiter;
  std::optional<Verdict> verdict;
  bool wait_again = false;  // this process was stopped for most of the wait that expired: start it anew
};

// One a rank and a group.
template <class Plants>
class BasicMember {
 public:
  BasicMember(MemberSeat seat, uint64_t now);
  // A wait of mine that began at `since` expired.
  Reaction expired(const Suspicion& suspicion, uint64_t since, uint64_t now);
  Reaction mismatch(const Mismatch& mismatch, uint64_t now);
  // I leave the call that I am in.
  Reaction failed(const std::string& reason, uint64_t now);
  // From the arbiter: its heartbeat, a Goodbye of a rank, a Verdict.
  Reaction take(const Message& message, uint64_t now);
  // The connection to the arbiter ended.
  Reaction arbiter_gone(uint64_t now);
  // The arbiter owes me an answer and I wait no longer.
  Reaction give_up(uint64_t now);
  Reaction tick(uint64_t now);

  // This process was stopped, or starved, after `since`.
  bool stopped_since(uint64_t since, uint64_t now);
  bool suspecting() const { return suspecting_ && verdict_.kind == FaultKind::kNone; }
  bool said_goodbye(uint32_t rank) const { return left_[rank]; }
  const Verdict& verdict() const { return verdict_; }

 private:
  void notice_own_stop(uint64_t now);
  Reaction conclude(Verdict verdict, bool tell);
  Verdict own_view(uint64_t now) const;
  FaultKind out_of_reach(uint32_t rank) const;

  MemberSeat seat_;
  std::vector<bool> left_;
  Verdict verdict_;
  Suspicion suspicion_;
  Mismatch mismatch_;
  bool suspecting_ = false;
  bool accusing_mismatch_ = false;
  std::optional<std::string> failed_;
  bool gone_ = false;
  uint64_t suspecting_since_ = 0;
  uint64_t arbiter_heard_;
  uint64_t last_now_;
  uint64_t stopped_from_ = 0;
  uint64_t stopped_until_ = 0;
};

// What ships. Other instantiations include runtime/verdict_rules.h.
using Arbiter = BasicArbiter<HostPlants>;
using Member = BasicMember<HostPlants>;
extern template class BasicArbiter<HostPlants>;
extern template class BasicMember<HostPlants>;

}  // namespace transload
