// The rules of suspicion and verdict, for any Plants: see verdict.h. Included where they are instantiated.
#pragma once
#include <algorithm>
#include <utility>

#include "runtime/verdict.h"

namespace transload {

namespace verdict_words {

inline std::string rank_text(uint32_t rank) { return "rank " + std::to_string(rank); }

inline std::string milliseconds(uint64_t ns) { return std::to_string(ns / kMillisecondNs) + " ms"; }

// The rank that speaks; kNobody for what no rank says of itself.
inline uint32_t speaker(const Message& message) {
  if (const auto* beat = std::get_if<Heartbeat>(&message)) return beat->rank;
  if (const auto* suspicion = std::get_if<Suspicion>(&message)) return suspicion->rank;
  if (const auto* mismatch = std::get_if<Mismatch>(&message)) return mismatch->rank;
  if (const auto* failed = std::get_if<Failed>(&message)) return failed->rank;
  return kNobody;
}

}  // namespace verdict_words

template <class Plants>
BasicArbiter<Plants>::BasicArbiter(std::vector<uint32_t> node_of_rank)
    : node_of_rank_(std::move(node_of_rank)), ranks_(node_of_rank_.size()) {
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) ranks_[rank].beat.rank = rank;
}

template <class Plants>
void BasicArbiter<Plants>::start(uint64_t now) {
  for (Rank& rank : ranks_) rank.heard = now;
  last_now_ = now;
}

// While my own process was stopped I heard nobody, and that says nothing about them.
template <class Plants>
void BasicArbiter<Plants>::notice_own_stop(uint64_t now) {
  const bool stopped = last_now_ != 0 && now - last_now_ >= kSilenceNs;
  if (stopped && !planted<Plants>(Canary::kStoppedAccuses)) {
    for (Rank& rank : ranks_) rank.heard = now;
    for (Case& open : pending_) open.at = now;
  }
  last_now_ = now;
}

template <class Plants>
std::vector<Message> BasicArbiter<Plants>::conclude(FaultKind kind, uint32_t culprit, std::string detail) {
  verdict_ = {kind, culprit, std::move(detail)};
  if (planted<Plants>(Canary::kVerdictUntold)) return {};
  return {verdict_};
}

template <class Plants>
std::vector<Message> BasicArbiter<Plants>::take(const Message& message, uint64_t now) {
  notice_own_stop(now);
  if (verdict_.kind != FaultKind::kNone) return {};
  const uint32_t from = verdict_words::speaker(message);
  uint64_t before = now;  // when it was heard last
  if (from != kNobody) {
    if (from >= ranks_.size()) return {};
    before = std::exchange(ranks_[from].heard, now);
  }
  if (const auto* beat = std::get_if<Heartbeat>(&message)) {
    Rank& rank = ranks_[from];
    const uint64_t gap =
        rank.beat.sent != 0 && beat->sent > rank.beat.sent ? beat->sent - rank.beat.sent : now - before;
    if (gap >= kSilenceNs) rank.stood_until = now, rank.stood_for = gap;
    rank.beat = *beat;
  } else if (const auto* suspicion = std::get_if<Suspicion>(&message)) {
    pending_.push_back({*suspicion, now});
  } else if (const auto* mismatch = std::get_if<Mismatch>(&message)) {
    return conclude(FaultKind::kMismatch, mismatch->other, mismatch->argument);
  } else if (const auto* failed = std::get_if<Failed>(&message)) {
    return conclude(FaultKind::kFailed, failed->rank, failed->reason);
  } else if (const auto* lost = std::get_if<Lost>(&message)) {
    if (lost->rank >= ranks_.size() || ranks_[lost->rank].left) return {};
    if (planted<Plants>(Canary::kDeathUnnoticed)) return {};
    return conclude(FaultKind::kLost, lost->rank, "its control connection ended without a goodbye");
  } else if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    if (goodbye->rank >= ranks_.size()) return {};
    ranks_[goodbye->rank].left = true;
    return {*goodbye};
  } else if (const auto* missing = std::get_if<Missing>(&message)) {
    return judge_missing(missing->rank, now);
  } else if (const auto* verdict = std::get_if<Verdict>(&message)) {
    // A member had to decide alone: whoever hears me now is told the same.
    return conclude(verdict->kind, verdict->culprit, verdict->detail);
  }
  return judge_all(now);
}

template <class Plants>
std::vector<Message> BasicArbiter<Plants>::tick(uint64_t now) {
  notice_own_stop(now);
  return judge_all(now);
}

template <class Plants>
std::vector<Message> BasicArbiter<Plants>::judge_all(uint64_t now) {
  if (verdict_.kind != FaultKind::kNone) return {};
  for (const Case& open : pending_) {
    const std::optional<Verdict> verdict = judge(open, now);
    if (!verdict) continue;
    const uint32_t culprit = planted<Plants>(Canary::kWrongCulprit) ? open.suspicion.rank : verdict->culprit;
    return conclude(verdict->kind, culprit, verdict->detail);
  }
  return {};
}

template <class Plants>
bool BasicArbiter<Plants>::silent(uint32_t rank, uint64_t now) const {
  return !ranks_[rank].left && now - ranks_[rank].heard >= kSilenceNs;
}

// Follows "waits for" from the accused. Empty: news of a rank on the way is still to come.
template <class Plants>
std::optional<Verdict> BasicArbiter<Plants>::judge(const Case& open, uint64_t now) const {
  const bool last_chance = now - open.at >= kJudgeNs;
  std::vector<uint32_t> path;
  uint32_t at = open.suspicion.whom;
  uint32_t from = open.suspicion.rank;
  uint64_t epoch = open.suspicion.epoch;
  while (true) {
    if (at >= ranks_.size())
      return judge_live(open,
                        {FaultKind::kSilent, from, "it is in the call but makes no progress, and waits for nobody"});
    const Rank& rank = ranks_[at];
    if (rank.left) return Verdict{FaultKind::kAbsent, at, "it has left the group"};
    if (silent(at, now)) return judge_silent(at, now, last_chance);
    if (rank.heard < open.at + kNewsNs && !last_chance) return std::nullopt;
    // While a group is made ranks wait in no phase; a rank that waits in an earlier call is late because of another.
    if (!rank.beat.waiting && (rank.beat.epoch < epoch || (epoch == 0 && rank.beat.phase == 0)))
      return judge_live(open, {FaultKind::kAbsent, at, "it is alive, but did not enter the call"});
    if (!rank.beat.waiting && rank.beat.phase == 0) return judge_live(open, judge_returned(from, at));
    const auto again = std::find(path.begin(), path.end(), at);
    if (again != path.end()) return judge_live(open, judge_cycle(path, at));
    path.push_back(at);
    from = at;
    epoch = std::min(epoch, rank.beat.epoch);
    at = rank.beat.waiting ? rank.beat.waiting_for : kNobody;
  }
}

// A rank has been in the call, and has returned from it: all that it owed was sent, and did not arrive.
template <class Plants>
Verdict BasicArbiter<Plants>::judge_returned(uint32_t waits, uint32_t returned) const {
  const std::string detail = "rank " + std::to_string(returned) + " has done its part of the call, and rank " +
                             std::to_string(waits) + " still waits for it";
  const bool crosses = node_of_rank_[waits] != node_of_rank_[returned];
  return {crosses ? FaultKind::kUnreachable : FaultKind::kAbsent, crosses ? std::min(waits, returned) : returned,
          detail};
}

// All on the way are alive now. If a rank stood still for most of the time that the accuser waited, for whatever it is
// that others wait now, it was that one.
template <class Plants>
std::optional<Verdict> BasicArbiter<Plants>::judge_live(const Case& open, Verdict otherwise) const {
  uint32_t longest = kNobody;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].stood_for == 0 || 2 * ranks_[rank].stood_for < open.suspicion.waited ||
        ranks_[rank].stood_until + open.suspicion.waited < open.at)
      continue;
    if (longest == kNobody || ranks_[rank].stood_for > ranks_[longest].stood_for) longest = rank;
  }
  if (longest == kNobody) return otherwise;
  return Verdict{FaultKind::kSilent, longest,
                 "it stood still for " + verdict_words::milliseconds(ranks_[longest].stood_for)};
}

// It did not come to a gather: alive, or not heard of any more.
template <class Plants>
std::vector<Message> BasicArbiter<Plants>::judge_missing(uint32_t rank, uint64_t now) {
  const bool was_here = rank < ranks_.size() && ranks_[rank].heard != 0;
  if (!was_here || !silent(rank, now)) return conclude(FaultKind::kAbsent, rank, "it did not come within the deadline");
  const std::optional<Verdict> verdict = judge_silent(rank, now, true);
  return conclude(verdict->kind, verdict->culprit, verdict->detail);
}

// One rank is silent, or a network is cut: then whole nodes are, and the lowest rank of them is named.
template <class Plants>
std::optional<Verdict> BasicArbiter<Plants>::judge_silent(uint32_t rank, uint64_t now, bool last_chance) const {
  std::vector<bool> node_speaks(1 + *std::max_element(node_of_rank_.begin(), node_of_rank_.end()));
  uint32_t silent_count = 0;
  for (uint32_t other = 0; other < ranks_.size(); ++other) {
    if (silent(other, now)) {
      ++silent_count;
      continue;
    }
    if (ranks_[other].left) continue;
    // It may have been cut off together with `rank`, and not be silent for long enough yet.
    if (!last_chance && ranks_[other].heard <= ranks_[rank].heard + kTogetherNs) return std::nullopt;
    node_speaks[node_of_rank_[other]] = true;
  }
  if (silent_count < 2 || node_speaks[node_of_rank_[rank]]) {
    return Verdict{FaultKind::kSilent, rank,
                   "no sign of life for " + verdict_words::milliseconds(now - ranks_[rank].heard)};
  }
  uint32_t lowest = 0;
  while (!silent(lowest, now) || node_speaks[node_of_rank_[lowest]]) ++lowest;
  return Verdict{FaultKind::kUnreachable, lowest,
                 "nothing is heard of " + std::to_string(silent_count) + " ranks, whole nodes among them"};
}

// All are alive and wait for each other: between nodes that is a broken path, inside one it is a rank that lost count.
template <class Plants>
Verdict BasicArbiter<Plants>::judge_cycle(const std::vector<uint32_t>& path, uint32_t again) const {
  const auto first = std::find(path.begin(), path.end(), again);
  const uint32_t lowest = *std::min_element(first, path.end());
  std::string detail = "ranks wait for each other:";
  bool crosses = false;
  for (auto at = first; at != path.end(); ++at) {
    detail += " " + std::to_string(*at);
    crosses |= node_of_rank_[*at] != node_of_rank_[again];
  }
  return {crosses ? FaultKind::kUnreachable : FaultKind::kSilent, lowest, detail};
}

template <class Plants>
BasicMember<Plants>::BasicMember(MemberSeat seat, uint64_t now)
    : seat_(std::move(seat)), left_(seat_.node_of_rank.size()), arbiter_heard_(now), last_now_(now) {}

template <class Plants>
void BasicMember<Plants>::notice_own_stop(uint64_t now) {
  if (now - last_now_ >= kSilenceNs && now > last_now_) {
    stopped_from_ = last_now_;
    stopped_until_ = now;
    arbiter_heard_ = now;
    suspecting_since_ = now;
  }
  last_now_ = std::max(last_now_, now);
}

template <class Plants>
bool BasicMember<Plants>::stopped_since(uint64_t since, uint64_t now) {
  notice_own_stop(now);
  return stopped_until_ > since;
}

template <class Plants>
Reaction BasicMember<Plants>::conclude(Verdict verdict, bool tell) {
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone) return reaction;
  verdict_ = std::move(verdict);
  suspecting_ = false;
  reaction.verdict = verdict_;
  if (tell) reaction.to_arbiter.push_back(verdict_);
  return reaction;
}

template <class Plants>
Reaction BasicMember<Plants>::expired(const Suspicion& suspicion, uint64_t since, uint64_t now) {
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone) return reaction;
  if (gone_) {
    suspicion_ = suspicion;
    return conclude(own_view(now), false);
  }
  // A short pause in a long wait excuses nobody: only a wait that was mostly mine to lose begins anew.
  const bool stopped = stopped_since(since, now) && !planted<Plants>(Canary::kStoppedAccuses);
  if (stopped && 2 * (stopped_until_ - std::max(stopped_from_, since)) >= now - since) {
    reaction.wait_again = true;
    return reaction;
  }
  if (suspecting_) return reaction;
  suspicion_ = suspicion;
  suspicion_.waited = now - since;
  suspecting_ = true;
  suspecting_since_ = now;
  reaction.to_arbiter.push_back(suspicion_);
  return reaction;
}

template <class Plants>
Reaction BasicMember<Plants>::mismatch(const Mismatch& mismatch, uint64_t now) {
  notice_own_stop(now);
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone || accusing_mismatch_) return reaction;
  mismatch_ = mismatch;
  accusing_mismatch_ = true;
  if (!suspecting_) suspecting_since_ = now;
  suspecting_ = true;
  if (gone_) return conclude(own_view(now), false);
  reaction.to_arbiter.push_back(mismatch);
  return reaction;
}

template <class Plants>
Reaction BasicMember<Plants>::failed(const std::string& reason, uint64_t now) {
  notice_own_stop(now);
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone || failed_) return reaction;
  failed_ = reason;
  suspecting_ = true;
  suspecting_since_ = now;
  if (gone_) return conclude(own_view(now), false);
  reaction.to_arbiter.push_back(Failed{seat_.rank, reason});
  return reaction;
}

template <class Plants>
Reaction BasicMember<Plants>::take(const Message& message, uint64_t now) {
  notice_own_stop(now);
  arbiter_heard_ = now;
  if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    if (goodbye->rank < left_.size()) left_[goodbye->rank] = true;
  } else if (const auto* verdict = std::get_if<Verdict>(&message)) {
    return conclude(*verdict, false);
  }
  return {};
}

template <class Plants>
Reaction BasicMember<Plants>::arbiter_gone(uint64_t now) {
  notice_own_stop(now);
  gone_ = true;
  if (seat_.arbiter_in_rank_0 && !left_[0])
    return conclude({FaultKind::kLost, 0, "its control connection ended without a goodbye"}, false);
  if (suspecting_) return conclude(own_view(now), false);
  return {};
}

template <class Plants>
Reaction BasicMember<Plants>::give_up(uint64_t now) {
  notice_own_stop(now);
  return conclude(own_view(now), !gone_);
}

template <class Plants>
Reaction BasicMember<Plants>::tick(uint64_t now) {
  notice_own_stop(now);
  if (!suspecting_ || now - suspecting_since_ < kAnswerNs) return {};
  return conclude(own_view(now), !gone_);
}

template <class Plants>
FaultKind BasicMember<Plants>::out_of_reach(uint32_t rank) const {
  return seat_.node_of_rank[rank] == seat_.node_of_rank[seat_.rank] ? FaultKind::kSilent : FaultKind::kUnreachable;
}

// What I say when nobody can tell me more.
template <class Plants>
Verdict BasicMember<Plants>::own_view(uint64_t now) const {
  if (failed_) return {FaultKind::kFailed, seat_.rank, *failed_};
  if (accusing_mismatch_) return {FaultKind::kMismatch, mismatch_.other, mismatch_.argument};
  const bool arbiter_beats = !gone_ && now - arbiter_heard_ < kSilenceNs;
  if (seat_.arbiter_in_rank_0 && seat_.rank != 0 && !arbiter_beats) {
    if (left_[0]) return {FaultKind::kAbsent, 0, "it has left the group"};
    return {out_of_reach(0), 0, "no sign of life, and it was to judge; this is the reporter's own view"};
  }
  uint32_t whom = suspicion_.whom;
  if (whom >= left_.size()) {
    whom = 0;
    while (whom < left_.size() && seat_.node_of_rank[whom] == seat_.node_of_rank[seat_.rank]) ++whom;
    if (whom == left_.size()) whom = seat_.rank == 0 && left_.size() > 1 ? 1 : 0;
  }
  if (left_[whom]) return {FaultKind::kAbsent, whom, "it has left the group"};
  return {out_of_reach(whom), whom,
          verdict_words::rank_text(seat_.rank) + " waited for it and heard no verdict; this is its own view"};
}

}  // namespace transload
