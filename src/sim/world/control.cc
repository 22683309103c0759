// The control channel in virtual time: see control.h.
#include "sim/world/control.h"

#include <algorithm>
#include <utility>

#include "base/mix.h"

namespace transload {

namespace {

// How often ranks and the arbiter look at the time: finer than any interval of the rules, and coarse enough to cost
// little.
constexpr uint64_t kStepNs = 10 * kMillisecondNs;

}  // namespace

SimControl::SimControl(Timeline& timeline, const ControlSetup& setup)
    : timeline_(timeline), setup_(setup), arbiter_(setup.node_of_rank) {
  const uint64_t now = timeline_.now();
  seats_.reserve(setup_.node_of_rank.size());
  for (uint32_t rank = 0; rank < setup_.node_of_rank.size(); ++rank) {
    ControlRank seat({rank, setup_.node_of_rank, setup_.arbiter_in_rank_0}, now);
    seat.latency_ns = setup_.latency_ns + draw() % (setup_.latency_ns + 1);
    seat.beat_at = now + draw() % kHeartbeatNs;
    seats_.push_back(std::move(seat));
  }
  arbiter_.start(now);
  for (ControlRank& seat : seats_) {  // each rank sends a heartbeat as soon as it has joined
    seat.where.rank = uint32_t(&seat - seats_.data());
    seat.where.sent = now;
    arbiter_.take(seat.where, now);
  }
  arbiter_ticked_ = arbiter_beat_ = now;
  keep_stepping();
}

uint64_t SimControl::draw() { return split_mix(setup_.seed ^ split_mix(draws_++)); }

void SimControl::at(uint64_t when, Act act) {
  timeline_.at(when, [open = open_, act = std::move(act)] {
    if (*open) act();
  });
}

// The calls of a rank.

void SimControl::note(uint32_t rank, const Heartbeat& where) {
  Heartbeat& mine = seats_[rank].where;
  const bool same = where.epoch == mine.epoch;
  const uint64_t entered = same ? mine.entered : timeline_.now();
  const uint64_t before = same ? mine.entered_before : mine.entered;
  mine = where;
  mine.rank = rank;
  mine.entered = entered;
  mine.entered_before = before;
}

bool SimControl::suspect(uint32_t rank, Suspicion suspicion, uint64_t since) {
  ControlRank& seat = seats_[rank];
  suspicion.rank = rank;
  const Reaction reaction = seat.member.expired(suspicion, since, timeline_.now());
  if (!reaction.to_arbiter.empty()) seat.answer_by = timeline_.now() + kAnswerNs + kGraceNs;
  apply(rank, reaction);
  return !reaction.wait_again;
}

void SimControl::failed(uint32_t rank, const std::string& reason) {
  ControlRank& seat = seats_[rank];
  const Reaction reaction = seat.member.failed(reason, timeline_.now());
  if (!reaction.to_arbiter.empty()) seat.answer_by = timeline_.now() + kAnswerNs + kGraceNs;
  apply(rank, reaction);
}

void SimControl::withdraw(uint32_t rank) {
  seats_[rank].answer_by = Timeline::kNever;
  apply(rank, seats_[rank].member.withdraw(timeline_.now()));
}

void SimControl::give_up(uint32_t rank) { apply(rank, seats_[rank].member.give_up(timeline_.now())); }

void SimControl::mismatch(uint32_t rank, uint32_t culprit, const std::string& argument, bool certain) {
  ControlRank& seat = seats_[rank];
  const Reaction reaction = seat.member.mismatch({rank, culprit, argument, certain}, timeline_.now());
  if (!reaction.to_arbiter.empty()) seat.answer_by = timeline_.now() + kAnswerNs + kGraceNs;
  apply(rank, reaction);
}

void SimControl::goodbye(uint32_t rank) {
  ControlRank& seat = seats_[rank];
  if (seat.leaving || seat.gone || judged(seat)) return;
  seat.leaving = true;
  to_arbiter(rank, [this, rank, last = seat.where.epoch] { hear(rank, Goodbye{rank, last}); });
}

void SimControl::apply(uint32_t rank, const Reaction& reaction) {
  for (const Message& message : reaction.to_arbiter) to_arbiter(rank, [this, rank, message] { hear(rank, message); });
  if (reaction.verdict && hook_) hook_(rank);
}

// Connections. Each keeps the order of its messages. What was sent before a death arrives; nothing passes a cut.

void SimControl::to_arbiter(uint32_t rank, Act act) {
  ControlRank& seat = seats_[rank];
  const bool busy = setup_.busy_ns > 0 && draw() % 4 == 0;
  const uint64_t busy_ns = busy ? draw() % (setup_.busy_ns + 1) : 0;
  seat.heard_at = std::max(seat.heard_at, timeline_.now() + seat.latency_ns + busy_ns);
  at(seat.heard_at, [this, rank, act = std::move(act)]() mutable {
    if (seats_[rank].cut || arbiter_over_) return;
    if (arbiter_stopped()) return arbiter_mail_.push_back(std::move(act));
    act();
  });
}

void SimControl::to_member(uint32_t rank, std::function<Reaction(Member&)> act) {
  at(timeline_.now() + seats_[rank].latency_ns, [this, rank, act = std::move(act)] {
    ControlRank& seat = seats_[rank];
    if (seat.cut || seat.dead || seat.gone) return;
    Act take = [this, rank, act] {
      Member& member = seats_[rank].member;
      const bool asked = member.suspecting();
      apply(rank, act(member));
      if (asked && !member.suspecting() && answer_hook_) answer_hook_(rank);
    };
    if (seat.stopped) return seat.mail.push_back(std::move(take));
    take();
  });
}

// What the rendezvous does.

void SimControl::hear(uint32_t rank, const Message& message) {
  if (!seats_[rank].here) return;
  const bool leaves = std::holds_alternative<Goodbye>(message);
  if (leaves) seats_[rank].here = false;
  tell(arbiter_.take(message, timeline_.now()));
  if (leaves) farewell(rank);
  if (std::holds_alternative<Withdrawn>(message))
    to_member(rank, [this, message](auto& member) { return member.take(message, timeline_.now()); });
}

void SimControl::lose(uint32_t rank) {
  if (!seats_[rank].here) return;
  seats_[rank].here = false;
  tell(arbiter_.take(Lost{rank}, timeline_.now()));
}

void SimControl::farewell(uint32_t rank) {
  to_member(rank, [this, rank](auto&) {
    seats_[rank].gone = true;
    if (holds_arbiter(rank)) end_arbiter(true);
    return Reaction{};
  });
}

void SimControl::tell(const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    const auto shared = std::make_shared<const Message>(message);
    for (uint32_t rank = 0; rank < seats_.size(); ++rank) {
      if (seats_[rank].here)
        to_member(rank, [this, shared](auto& member) { return member.take(*shared, timeline_.now()); });
    }
  }
}

// The arbiter's process ends. With notice, every connection to it ends too.
void SimControl::end_arbiter(bool notice) {
  arbiter_over_ = true;
  arbiter_mail_.clear();
  for (uint32_t rank = 0; notice && rank < seats_.size(); ++rank) {
    to_member(rank, [this, rank](auto& member) {
      seats_[rank].gone = true;
      return seats_[rank].leaving ? Reaction{} : member.arbiter_gone(timeline_.now());
    });
  }
}

// Faults.

void SimControl::die(uint32_t rank, bool notice) {
  ControlRank& seat = seats_[rank];
  if (seat.dead) return;
  seat.dead = true;
  seat.mail.clear();
  if (holds_arbiter(rank)) return end_arbiter(notice);
  if (notice) to_arbiter(rank, [this, rank] { lose(rank); });
}

void SimControl::stop(uint32_t rank) { seats_[rank].stopped = true; }

// The threads of a rank wake in any order: that of its call, that of Control, and that of the rendezvous if it is here.
void SimControl::go_on(uint32_t rank) {
  ControlRank& seat = seats_[rank];
  if (seat.dead || !seat.stopped) return;
  seat.stopped = false;
  const auto call = [&] { give_up_if_due(rank); };
  const auto control = [&] {
    for (const Act& act : std::exchange(seat.mail, {})) act();
    step_member(rank);
  };
  const auto rendezvous = [&] {
    if (!holds_arbiter(rank)) return;
    for (const Act& act : std::exchange(arbiter_mail_, {})) act();
    step_arbiter();
  };
  const uint64_t order = draw() % 3;
  if (order == 0) call();
  if (order != 1) control();
  rendezvous();
  if (order == 1) control();
  if (order != 0) call();
  keep_stepping();
}

void SimControl::cut(const std::vector<uint32_t>& ranks) {
  std::vector<bool> named(seats_.size());
  for (const uint32_t rank : ranks) named[rank] = true;
  const bool arbiters_side = setup_.arbiter_in_rank_0 && named[0];
  for (uint32_t rank = 0; rank < seats_.size(); ++rank) seats_[rank].cut |= named[rank] != arbiters_side;
}

// Time.

// Steps go on while some rank may still learn a verdict.
void SimControl::keep_stepping() {
  const auto needs = [this](const ControlRank& seat) { return running(seat) && !judged(seat); };
  if (stepping_ || std::none_of(seats_.begin(), seats_.end(), needs)) return;
  stepping_ = true;
  at(timeline_.now() + kStepNs, [this] { step(); });
}

void SimControl::step() {
  stepping_ = false;
  const uint32_t ranks = uint32_t(seats_.size());
  const uint32_t first = uint32_t(draw() % ranks);
  for (uint32_t i = 0; i < ranks; ++i) {
    const uint32_t rank = (first + i) % ranks;
    give_up_if_due(rank);
    step_member(rank);
  }
  step_arbiter();
  keep_stepping();
}

void SimControl::step_member(uint32_t rank) {
  ControlRank& seat = seats_[rank];
  if (!running(seat)) return;
  const uint64_t now = timeline_.now();
  if (!judged(seat) && !seat.gone && now >= seat.beat_at) {
    seat.where.sent = now;
    to_arbiter(rank, [this, rank, beat = seat.where] { hear(rank, beat); });
    seat.beat_at = now + kHeartbeatNs;
  }
  const bool asked = seat.member.suspecting();
  apply(rank, seat.member.tick(seat.where, now));
  if (asked && !seat.member.suspecting() && answer_hook_) answer_hook_(rank);
}

void SimControl::give_up_if_due(uint32_t rank) {
  ControlRank& seat = seats_[rank];
  if (!running(seat) || !seat.member.suspecting() || timeline_.now() < seat.answer_by) return;
  apply(rank, seat.member.give_up(timeline_.now()));
}

void SimControl::step_arbiter() {
  const uint64_t now = timeline_.now();
  if (arbiter_over_ || arbiter_stopped() || arbiter_.verdict().kind != FaultKind::kNone) return;
  if (now - arbiter_ticked_ < (arbiter_.pending() ? kTickPendingNs : kTickNs)) return;
  arbiter_ticked_ = now;
  tell(arbiter_.tick(now));
  if (arbiter_.verdict().kind != FaultKind::kNone || now - arbiter_beat_ < kHeartbeatNs) return;
  arbiter_beat_ = now;
  tell({Heartbeat{}});
}

}  // namespace transload
