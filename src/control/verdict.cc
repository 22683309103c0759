// The arbiter's rules of suspicion and verdict: see verdict.h.
#include "control/verdict.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "control/verdict_words.h"

namespace transload {

namespace {

std::string milliseconds(uint64_t ns) { return std::to_string(ns / kMillisecondNs) + " ms"; }

// The lesser of two numbers modulo 2^64 that are close to each other.
uint64_t earlier(uint64_t a, uint64_t b) { return int64_t(a - b) < 0 ? a : b; }

constexpr const char* kAway = "it is alive, but did not enter the call";

// The rank that speaks; kNobody for what no rank says of itself.
uint32_t speaker(const Message& message) {
  if (const auto* beat = std::get_if<Heartbeat>(&message)) return beat->rank;
  if (const auto* suspicion = std::get_if<Suspicion>(&message)) return suspicion->rank;
  if (const auto* mismatch = std::get_if<Mismatch>(&message)) return mismatch->rank;
  if (const auto* failed = std::get_if<Failed>(&message)) return failed->rank;
  if (const auto* withdrawn = std::get_if<Withdrawn>(&message)) return withdrawn->rank;
  return kNobody;
}

}  // namespace

Arbiter::Arbiter(std::vector<uint32_t> node_of_rank)
    : node_of_rank_(std::move(node_of_rank)), ranks_(node_of_rank_.size()) {
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) ranks_[rank].beat.rank = rank;
}

void Arbiter::start(uint64_t now) {
  for (MemberState& rank : ranks_) rank.heard = now;
  last_now_ = now;
}

// While my own process was stopped I heard nobody, and that says nothing about them.
void Arbiter::notice_own_stop(uint64_t now) {
  const bool stopped = last_now_ != 0 && now - last_now_ >= kSilenceNs;
  if (stopped) {
    for (MemberState& rank : ranks_) rank.heard = now;
    for (Case& open : pending_) open.at = now;
    mismatch_at_ = now;
  }
  last_now_ = now;
}

std::vector<Message> Arbiter::conclude(Verdict verdict) {
  TRANSLOAD_CHECK(verdict_.kind == FaultKind::kNone);  // an arbiter judges once
  verdict_ = std::move(verdict);
  return {verdict_};
}

std::vector<Message> Arbiter::take(const Message& message, uint64_t now) {
  notice_own_stop(now);
  if (verdict_.kind != FaultKind::kNone) return {};
  const uint32_t from = speaker(message);
  uint64_t before = now;  // when the rank was heard last
  if (from != kNobody) {
    if (from >= ranks_.size()) return {};
    before = std::exchange(ranks_[from].heard, now);
  }
  if (const auto* beat = std::get_if<Heartbeat>(&message)) {
    hear_beat(*beat, before, now);
  } else if (const auto* suspicion = std::get_if<Suspicion>(&message)) {
    withdraw(from);
    const uint64_t sent = suspicion->sent == 0 ? now : ranks_[from].clock.mine(suspicion->sent, now);
    pending_.push_back({*suspicion, now, sent - std::min(sent, suspicion->overdue)});
    if (suspicion->cut.empty()) note_deadline(suspicion->epoch, pending_.back().deadline);
  } else if (std::holds_alternative<Withdrawn>(message)) {
    withdraw(from);
  } else if (const auto* mismatch = std::get_if<Mismatch>(&message)) {
    if (mismatches_.empty()) mismatch_at_ = now;
    const auto again = [&](const Mismatch& m) { return m.rank == from; };
    if (std::none_of(mismatches_.begin(), mismatches_.end(), again)) mismatches_.push_back(*mismatch);
  } else if (const auto* failed = std::get_if<Failed>(&message)) {
    return conclude({FaultKind::kFailed, failed->rank, failed->reason, false});
  } else if (const auto* lost = std::get_if<Lost>(&message)) {
    if (lost->rank >= ranks_.size() || ranks_[lost->rank].left) return {};
    return conclude({FaultKind::kLost, lost->rank, kEnded, false});
  } else if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    if (goodbye->rank >= ranks_.size()) return {};
    ranks_[goodbye->rank].left = true;
    ranks_[goodbye->rank].left_after = goodbye->epoch;
    first_left_ = std::min(first_left_, goodbye->epoch);
    std::vector<Message> said{*goodbye};
    for (Message& more : judge_all(now)) said.push_back(std::move(more));
    return said;
  } else if (const auto* missing = std::get_if<Missing>(&message)) {
    return judge_missing(missing->rank, now);
  } else if (const auto* verdict = std::get_if<Verdict>(&message)) {
    // A member had to decide alone, and all that can still be reached are told the same.
    return conclude(*verdict);
  }
  return judge_all(now);
}

std::vector<Message> Arbiter::tick(uint64_t now) {
  notice_own_stop(now);
  return judge_all(now);
}

void Arbiter::hear_beat(const Heartbeat& beat, uint64_t before, uint64_t now) {
  MemberState& rank = ranks_[beat.rank];
  const uint64_t gap = rank.beat.sent != 0 && beat.sent > rank.beat.sent ? beat.sent - rank.beat.sent : now - before;
  if (gap >= kSilenceNs) {
    rank.stood_until = now;
    rank.stood_for = gap;
  }
  if (beat.sent != 0) rank.clock.learn(beat.sent, now);
  const auto when = [&](uint64_t its) {
    return its != 0 && its <= beat.sent ? std::max<uint64_t>(rank.clock.mine(its, now), 1) : 0;
  };
  rank.beat = beat;
  rank.beat_at = beat.sent != 0 ? when(beat.sent) : now;
  rank.entered_at = when(beat.entered);
  rank.entered_before_at = when(beat.entered_before);
  if (beat.waiting) latest_wait_ = std::max(latest_wait_, beat.epoch);
}

void Arbiter::ClockGap::learn(uint64_t sent, uint64_t now) {
  const uint64_t sample = now - sent;
  const bool first = !least;
  if (first || now - span_at >= kClockSpanNs) {
    least_before = first ? sample : *least;
    least = sample;
    span_at = now;
  } else {
    least = earlier(sample, *least);
  }
}

// A time of the rank's clock by mine. While no beat has come the gap is not known, and the time counts as now.
uint64_t Arbiter::ClockGap::mine(uint64_t its, uint64_t now) const {
  return least ? std::min(now, its + earlier(*least, least_before)) : now;
}

void Arbiter::withdraw(uint32_t rank) {
  std::erase_if(pending_, [&](const Case& open) { return open.suspicion.rank == rank; });
}

std::vector<Message> Arbiter::judge_all(uint64_t now) {
  if (verdict_.kind != FaultKind::kNone) return {};
  if (std::optional<Verdict> verdict = judge_left()) return conclude(std::move(*verdict));
  if (!mismatches_.empty()) {  // a rank that found a mismatch waits no longer, and others may be waiting for that rank
    std::optional<Verdict> verdict = judge_mismatch(now);
    return verdict ? conclude(std::move(*verdict)) : std::vector<Message>{};
  }
  // The oldest case is judged first, so a few are enough. Cases that come within a tick are looked at together.
  if (now - looked_at_ < kTickPendingNs) return {};
  looked_at_ = now;
  for (size_t i = 0; i < std::min(pending_.size(), kLookedAt); ++i) {
    const Case& open = pending_[i];
    std::optional<Verdict> verdict = judge(open, now);
    if (verdict) return conclude(std::move(*verdict));
  }
  return {};
}

bool Arbiter::silent(uint32_t rank, uint64_t now) const {
  return !ranks_[rank].left && now - ranks_[rank].heard >= kSilenceNs;
}

// Names a rank that has left, if somebody waits in a call that it did not make. Every call needs every rank, so that
// call cannot end. A rank that left while others finish its last call owes them nothing any more.
std::optional<Verdict> Arbiter::judge_left() const {
  if (first_left_ >= latest_wait_) return std::nullopt;
  uint32_t rank = 0;
  while (!ranks_[rank].left || ranks_[rank].left_after >= latest_wait_) ++rank;
  return Verdict{FaultKind::kAbsent, rank, kHasLeft, false};
}

// The rank that differs from most is wrong. Each rank reports one difference at most, the first that it met. So this
// waits for the others' reports: until all have reported, or more than half of all differ from one rank, or for as long
// as a suspicion takes. Of several candidates the one in the smallest company is named.
std::optional<Verdict> Arbiter::judge_mismatch(uint64_t now) const {
  std::vector<std::set<uint32_t>> differs(ranks_.size());
  for (const Mismatch& m : mismatches_) {
    if (m.certain || m.other == m.rank || m.other >= ranks_.size())
      return Verdict{FaultKind::kMismatch, m.other < ranks_.size() ? m.other : m.rank, m.argument, false};
    differs[m.rank].insert(m.other);
    differs[m.other].insert(m.rank);
  }
  size_t most = 0;
  for (const std::set<uint32_t>& from : differs) most = std::max(most, from.size());
  const bool all = ranks_.size() == 2 || mismatches_.size() == ranks_.size() || 2 * most > ranks_.size();
  if (!all && now - mismatch_at_ < kJudgeNs) return std::nullopt;
  uint32_t culprit = kNobody, fewest = kNobody;
  bool known = true;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (differs[rank].size() < most || company(rank) > fewest) continue;
    known = company(rank) < fewest;
    if (!known) continue;
    culprit = rank;
    fewest = company(rank);
  }
  const Mismatch* told = nullptr;  // from the lowest rank that differs from the culprit, or else from the culprit
  for (const Mismatch& m : mismatches_) {
    if (m.other != culprit && m.rank != culprit) continue;
    const bool better = told == nullptr || (told->rank == culprit) > (m.rank == culprit) ||
                        (told->rank != culprit && m.rank != culprit && m.rank < told->rank);
    if (better) told = &m;
  }
  return Verdict{FaultKind::kMismatch, culprit, known ? told->argument : told->argument + kNotKnown, false};
}

// How many ranks are in the same call, as their beats say. Reports alone do not tell: a rank that waits for one which
// calls something else may not get to see what that is.
uint32_t Arbiter::company(uint32_t rank) const {
  const Heartbeat& mine = ranks_[rank].beat;
  return uint32_t(std::count_if(ranks_.begin(), ranks_.end(), [&](const MemberState& there) {
    return there.beat.epoch == mine.epoch && there.beat.phase == mine.phase;
  }));
}

// Follows "waits for" from the accused. Empty: news of a rank on the way is still to come.
std::optional<Verdict> Arbiter::judge(const Case& open, uint64_t now) const {
  if (!open.suspicion.cut.empty() && open.suspicion.whom < ranks_.size()) return judge_cut(open, now);
  const bool last_chance = Look{open, 0, now}.last_chance();
  std::vector<uint32_t> path;
  uint32_t at = open.suspicion.whom;
  uint32_t from = open.suspicion.rank;
  uint64_t epoch = open.suspicion.epoch;
  while (true) {
    if (at >= ranks_.size()) {
      const char* detail = "it is in the call but makes no progress, and waits for nobody";
      return judge_live({open, epoch, now}, {FaultKind::kSilent, from, detail, false});
    }
    const Look look{open, epoch, now};
    const MemberState& rank = ranks_[at];
    if (rank.left && (epoch == 0 || rank.left_after < epoch)) return Verdict{FaultKind::kAbsent, at, kHasLeft, false};
    if (rank.left) return judge_live(look, judge_returned(from, at));
    if (silent(at, now)) return judge_silent(at, now, last_chance);
    if (rank.beat_at < open.at + kNewsNs && !last_chance) return std::nullopt;
    // While a group is made ranks wait in no phase; a rank that waits in an earlier call is late because of another.
    if (!rank.beat.waiting && (rank.beat.epoch < epoch || (epoch == 0 && rank.beat.phase == 0)))
      return judge_stood(open).value_or(Verdict{FaultKind::kAbsent, at, kAway, false});
    if (rank.beat.epoch > epoch || (!rank.beat.waiting && rank.beat.phase == 0))
      return judge_live(look, judge_returned(from, at));
    const auto again = std::find(path.begin(), path.end(), at);
    if (again != path.end()) return judge_live(look, judge_cycle(look, {again, path.end()}));
    path.push_back(at);
    from = at;
    epoch = std::min(epoch, rank.beat.epoch);
    at = rank.beat.waiting ? rank.beat.waiting_for : kNobody;
  }
}

// Judges a cut network. No deadline has passed, so nobody is late. Only a silent rank is a better explanation.
std::optional<Verdict> Arbiter::judge_cut(const Case& open, uint64_t now) const {
  const uint32_t from = open.suspicion.rank, to = open.suspicion.whom;
  const bool last_chance = Look{open, 0, now}.last_chance();
  if (silent(to, now)) return judge_silent(to, now, last_chance);
  if (ranks_[to].beat_at < open.at + kNewsNs && !last_chance) return std::nullopt;
  return Verdict{FaultKind::kUnreachable, std::min(from, to),
                 "the network brings nothing of rank " + std::to_string(from) + " to rank " + std::to_string(to) +
                     ": " + open.suspicion.cut,
                 false};
}

// The verdict on a rank that was in the call and has returned from it: all that it owed was sent, and did not arrive.
Verdict Arbiter::judge_returned(uint32_t waits, uint32_t returned) const {
  const std::string detail = "rank " + std::to_string(returned) + " has done its part of the call, and rank " +
                             std::to_string(waits) + " still waits for it";
  const bool crosses = node_of_rank_[waits] != node_of_rank_[returned];
  return {crosses ? FaultKind::kUnreachable : FaultKind::kAbsent, crosses ? std::min(waits, returned) : returned,
          detail, false};
}

// Names a rank that stood still for most of the time that the accuser waited; of several the one that did so longest.
std::optional<Verdict> Arbiter::judge_stood(const Case& open) const {
  uint32_t longest = kNobody;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].stood_for == 0 || 2 * ranks_[rank].stood_for < open.suspicion.waited ||
        ranks_[rank].stood_until + open.suspicion.waited < open.at)
      continue;
    if (longest == kNobody || ranks_[rank].stood_for > ranks_[longest].stood_for) longest = rank;
  }
  if (longest == kNobody) return std::nullopt;
  return Verdict{FaultKind::kSilent, longest, "it stood still for " + milliseconds(ranks_[longest].stood_for), false};
}

// When a rank entered a call, by my clock; 0: long ago, or not yet.
uint64_t Arbiter::entered(uint32_t rank, uint64_t epoch) const {
  const MemberState& there = ranks_[rank];
  if (there.left || epoch == 0) return 0;
  if (there.beat.epoch == epoch) return there.entered_at;
  return there.beat.epoch == epoch + 1 ? there.entered_before_at : 0;
}

// Keeps the deadlines of the latest calls alone: no two ranks are further apart than kCallsAtOnce.
void Arbiter::note_deadline(uint64_t epoch, uint64_t deadline) {
  uint64_t& first = first_deadlines_.emplace(epoch, deadline).first->second;
  first = std::min(first, deadline);
  if (first_deadlines_.size() > kCallsAtOnce) first_deadlines_.erase(first_deadlines_.begin());
}

// When the first of all waits in the call expired. The wait that was suspected first need not be the one that expired
// first, and one that has ended since may have held up others.
uint64_t Arbiter::first_deadline(const Look& look) const {
  const auto known = first_deadlines_.find(look.epoch);
  return known == first_deadlines_.end() ? look.open.deadline : std::min(look.open.deadline, known->second);
}

// The last rank that entered the call after somebody's wait in it had expired, or kNobody.
uint32_t Arbiter::entered_late(const Look& look) const {
  const uint64_t deadline = first_deadline(look);
  uint32_t last = kNobody;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    const uint64_t at = entered(rank, look.epoch);
    if (at > deadline && (last == kNobody || at > entered(last, look.epoch))) last = rank;
  }
  return last;
}

// True if `rank` entered the call after the accuser, and cannot have waited yet for as long as the accuser had.
bool Arbiter::waits_for_less(uint32_t rank, const Look& look) const {
  const uint64_t at = entered(rank, look.epoch);
  return at > entered(look.open.suspicion.rank, look.epoch) && at + look.open.suspicion.waited > look.now;
}

// The one of these ranks that entered the call last, if it did so long after the accuser; else kNobody.
uint32_t Arbiter::came_last(const std::vector<uint32_t>& of, const Look& look) const {
  uint32_t last = kNobody;
  for (const uint32_t rank : of) {
    if (!waits_for_less(rank, look)) continue;
    if (last == kNobody || entered(rank, look.epoch) > entered(last, look.epoch)) last = rank;
  }
  return last;
}

// Whether the call may still end well: it has ended for somebody, or somebody came to it in time and has a deadline
// that is still to come. On a busy machine there is time to hear of that.
bool Arbiter::may_end(const Look& look) const {
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    const Heartbeat& beat = ranks_[rank].beat;
    if (ranks_[rank].left || look.epoch == 0) continue;
    if (beat.epoch > look.epoch || (beat.epoch == look.epoch && beat.phase == 0 && !beat.waiting)) return true;
    if (waits_for_less(rank, look)) return true;
  }
  return false;
}

// Judges when all ranks on the way are alive and in the call, or were. The rank that a wait names need not be the one
// that holds it up, because a wait for one of many names the first. So the verdict is `otherwise` only if no rank stood
// still, is silent, is away from the call, or entered it after a wait in it had expired. After such a late entry the
// call may yet end well, so nobody is named before the last chance: the accuser may withdraw.
std::optional<Verdict> Arbiter::judge_live(const Look& look, Verdict otherwise) const {
  const Case& open = look.open;
  if (std::optional<Verdict> stood = judge_stood(open)) return stood;
  const bool last_chance = look.last_chance();
  uint32_t away = kNobody;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    const MemberState& there = ranks_[rank];
    if (there.left) continue;
    if (silent(rank, look.now)) return judge_silent(rank, look.now, last_chance);
    if (rank == open.suspicion.rank) continue;  // this rank has said itself that it is in the call
    if (there.beat_at < open.at + kNewsNs && !last_chance) return std::nullopt;
    if (away == kNobody && !there.beat.waiting && there.beat.epoch < look.epoch) away = rank;
  }
  if (away != kNobody) return Verdict{FaultKind::kAbsent, away, kAway, false};
  const uint32_t late = entered_late(look);
  if (!last_chance && (late != kNobody || may_end(look))) return std::nullopt;
  if (late == kNobody) return otherwise;
  const uint64_t ns = entered(late, look.epoch) - first_deadline(look);
  return Verdict{FaultKind::kAbsent, late,
                 "it entered the call " + milliseconds(ns) + " after the first wait in it had expired", false};
}

// The verdict on a rank that did not come to a gather: it has left, is silent, or is alive and late.
std::vector<Message> Arbiter::judge_missing(uint32_t rank, uint64_t now) {
  const bool was_here = rank < ranks_.size() && ranks_[rank].heard != 0;
  if (was_here && ranks_[rank].left) return conclude({FaultKind::kAbsent, rank, kHasLeft, false});
  if (!was_here || !silent(rank, now))
    return conclude({FaultKind::kAbsent, rank, "it did not come within the deadline", false});
  return conclude(*judge_silent(rank, now, true));
}

// Either one rank is silent, or a network is cut. In the second case whole nodes are silent, and their lowest rank is
// named.
std::optional<Verdict> Arbiter::judge_silent(uint32_t rank, uint64_t now, bool last_chance) const {
  std::vector<bool> node_speaks(1 + *std::max_element(node_of_rank_.begin(), node_of_rank_.end()));
  uint32_t silent_count = 0;
  for (uint32_t other = 0; other < ranks_.size(); ++other) {
    if (silent(other, now)) {
      ++silent_count;
      continue;
    }
    if (ranks_[other].left) continue;
    // `other` may have been cut off together with `rank`, and not be silent for long enough yet.
    if (!last_chance && ranks_[other].heard <= ranks_[rank].heard + kTogetherNs) return std::nullopt;
    node_speaks[node_of_rank_[other]] = true;
  }
  if (silent_count < 2 || node_speaks[node_of_rank_[rank]]) {
    return Verdict{FaultKind::kSilent, rank, "no sign of life for " + milliseconds(now - ranks_[rank].heard), false};
  }
  uint32_t lowest = 0;
  while (!silent(lowest, now) || node_speaks[node_of_rank_[lowest]]) ++lowest;
  return Verdict{FaultKind::kUnreachable, lowest,
                 "nothing is heard of " + std::to_string(silent_count) + " ranks, whole nodes among them", false};
}

// Judges ranks that are alive and wait for each other in a circle. If the circle crosses nodes, some path of it is
// broken, and the lowest rank of the circle is named. Inside a node a rank has lost count: the one that entered the
// call last is named, if that was long after the accuser, else the lowest.
Verdict Arbiter::judge_cycle(const Look& look, std::vector<uint32_t> cycle) const {
  if (cycle.size() == 1) return {FaultKind::kSilent, cycle[0], "it waits for itself", false};
  std::string detail = "ranks wait for each other:";
  bool crosses = false;
  for (const uint32_t rank : cycle) {
    detail += " " + std::to_string(rank);
    crosses |= node_of_rank_[rank] != node_of_rank_[cycle[0]];
  }
  const uint32_t lowest = *std::min_element(cycle.begin(), cycle.end());
  if (crosses) return {FaultKind::kUnreachable, lowest, detail, false};
  const uint32_t last = came_last(cycle, look);
  if (last == kNobody) return {FaultKind::kSilent, lowest, detail, false};
  return {FaultKind::kSilent, last, detail + "; it entered the call last", false};
}

}  // namespace transload
