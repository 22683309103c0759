// What a member says of suspicions, alone and to its arbiter: see verdict.h.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "control/verdict.h"
#include "control/verdict_words.h"

namespace transload {

Member::Member(MemberSeat seat, uint64_t now)
    : seat_(std::move(seat)), left_after_(seat_.node_of_rank.size()), arbiter_heard_(now), last_now_(now) {
  TRANSLOAD_CHECK(seat_.rank < seat_.node_of_rank.size());
}

uint64_t Member::advance(uint64_t now) {
  if (now > last_now_ && now - last_now_ >= kSilenceNs) {
    stopped_from_ = last_now_;
    stopped_until_ = now;
    arbiter_heard_ = now;
    suspecting_since_ = now;
  }
  return last_now_ = std::max(last_now_, now);
}

bool Member::stopped_since(uint64_t since, uint64_t now) {
  now = advance(now);
  return stopped_until_ > since;
}

Reaction Member::conclude(Verdict verdict, bool tell) {
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone) return reaction;
  verdict_ = std::move(verdict);
  suspecting_ = false;
  reaction.verdict = verdict_;
  if (tell) reaction.to_arbiter.push_back(verdict_);
  return reaction;
}

Reaction Member::expired(const Suspicion& suspicion, uint64_t since, uint64_t now) {
  now = std::max(now, last_now_);
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone) return reaction;
  if (gone_) {
    suspicion_ = suspicion;
    return conclude(own_view(now), false);
  }
  // Only a wait during most of which this process stood still begins again; a short pause excuses nobody.
  const bool stopped = stopped_since(since, now);
  if (stopped && 2 * (stopped_until_ - std::max(stopped_from_, since)) >= now - since) {
    reaction.wait_again = true;
    return reaction;
  }
  return file(suspicion, since, now);
}

Reaction Member::gave_up(const Suspicion& suspicion, uint64_t since, uint64_t now) {
  now = advance(now);
  if (verdict_.kind != FaultKind::kNone) return {};
  suspicion_ = suspicion;
  return gone_ ? conclude(own_view(now), false) : file(suspicion, since, now);
}

Reaction Member::file(const Suspicion& suspicion, uint64_t since, uint64_t now) {
  Reaction reaction;
  if (suspecting_) return reaction;
  suspicion_ = suspicion;
  suspicion_->waited = now - since;
  suspicion_->sent = now;
  suspecting_ = true;
  suspecting_since_ = now;
  reaction.to_arbiter.push_back(*suspicion_);
  return reaction;
}

Reaction Member::withdraw(uint64_t now) {
  now = advance(now);
  Reaction reaction;
  if (!suspecting_ || accusing_mismatch_ || failed_ || gone_ || verdict_.kind != FaultKind::kNone) return reaction;
  suspecting_ = false;
  suspicion_.reset();  // the wait has ended, so nobody is at fault for it
  suspecting_since_ = now;
  ++unanswered_;
  reaction.to_arbiter.push_back(Withdrawn{seat_.rank});
  return reaction;
}

Reaction Member::mismatch(const Mismatch& mismatch, uint64_t now) {
  now = advance(now);
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

Reaction Member::failed(const std::string& reason, uint64_t now) {
  now = advance(now);
  Reaction reaction;
  if (verdict_.kind != FaultKind::kNone || failed_) return reaction;
  failed_ = reason;
  suspecting_ = true;
  suspecting_since_ = now;
  if (gone_) return conclude(own_view(now), false);
  reaction.to_arbiter.push_back(Failed{seat_.rank, reason});
  return reaction;
}

Reaction Member::take(const Message& message, uint64_t now) {
  now = advance(now);
  if (now - arbiter_heard_ >= kSilenceNs) suspecting_since_ = now;  // a silent arbiter could not judge until now
  arbiter_heard_ = now;
  if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    if (goodbye->rank < left_after_.size()) left_after_[goodbye->rank] = goodbye->epoch;
  } else if (const auto* withdrawn = std::get_if<Withdrawn>(&message)) {
    if (withdrawn->rank == seat_.rank && unanswered_ > 0) --unanswered_;
  } else if (const auto* verdict = std::get_if<Verdict>(&message)) {
    return conclude(*verdict, false);
  }
  return {};
}

// All members see the end of the arbiter's process, so all say the same. Nobody takes its place, because members are
// connected to it alone. If rank 0 has left with it, calls that were begun may still end well.
Reaction Member::arbiter_gone(uint64_t now) {
  now = advance(now);
  gone_ = true;
  unanswered_ = 0;
  if (seat_.arbiter_in_rank_0 && !left_after_[0]) return conclude({FaultKind::kLost, 0, kEnded, false}, false);
  if (!seat_.arbiter_in_rank_0)
    return conclude({FaultKind::kRendezvous, kNobody, "its connections ended, and nobody else can judge", false},
                    false);
  if (suspecting_) return conclude(own_view(now), false);
  return {};
}

Reaction Member::arbiter_garbled(uint64_t now) {
  advance(now);
  gone_ = true;
  unanswered_ = 0;
  return conclude({FaultKind::kRendezvous, kNobody, "it said what no rendezvous of this version says", true}, false);
}

Reaction Member::give_up(uint64_t now) {
  now = advance(now);
  return conclude(own_view(now), !gone_);
}

Reaction Member::tick(const Heartbeat& mine, uint64_t now) {
  now = advance(now);
  if (gone_ && mine.waiting) {  // with a connection the arbiter sees the wait: Arbiter::judge_left
    for (uint32_t rank = 0; rank < left_after_.size(); ++rank)
      if (left_after_[rank] && *left_after_[rank] < mine.epoch)
        return conclude({FaultKind::kAbsent, rank, kHasLeft, true}, false);
  }
  if (!suspecting() || now - suspecting_since_ < kAnswerNs) return {};
  if (suspecting_) return conclude(own_view(now), !gone_);
  unanswered_ = 0;  // this rank suspects nobody, so the arbiter's silence harms nobody
  return {};
}

FaultKind Member::out_of_reach(uint32_t rank) const {
  return seat_.node_of_rank[rank] == seat_.node_of_rank[seat_.rank] ? FaultKind::kSilent : FaultKind::kUnreachable;
}

// The verdict without an arbiter. All ranks that hear none say this, whomever they wait for, so they agree.
Verdict Member::without_arbiter() const {
  if (!seat_.arbiter_in_rank_0)
    return {FaultKind::kRendezvous, kNobody, "it gives no sign of life, and nobody else can judge", true};
  if (!left_after_[0]) return {out_of_reach(0), 0, "no sign of life, and it was to judge", true};
  const bool waited = suspicion_ && suspicion_->whom < left_after_.size();
  const uint32_t whom = waited && left_after_[suspicion_->whom] ? suspicion_->whom : kNobody;
  if (whom != kNobody && *left_after_[whom] < std::max<uint64_t>(suspicion_->epoch, 1))
    return {FaultKind::kAbsent, whom, kHasLeft, true};
  return {FaultKind::kRendezvous, kNobody, "rank 0 held it and has left, and nobody else can judge", true};
}

// The verdict of this rank alone, from what it has met itself and from whom it hears.
Verdict Member::own_view(uint64_t now) const {
  if (failed_) return {FaultKind::kFailed, seat_.rank, *failed_, true};
  if (accusing_mismatch_) {
    if (mismatch_.certain) return {FaultKind::kMismatch, mismatch_.other, mismatch_.argument, true};
    const uint32_t lower = std::min(mismatch_.rank, mismatch_.other);
    return {FaultKind::kMismatch, lower, mismatch_.argument + kNotKnown, true};
  }
  const bool arbiter_beats = !gone_ && now - arbiter_heard_ < kSilenceNs;
  const bool beside_it = seat_.arbiter_in_rank_0 && seat_.rank == 0;
  if (!arbiter_beats && !beside_it) return without_arbiter();
  if (!suspicion_) return {FaultKind::kRendezvous, kNobody, "it did not answer", true};
  const uint32_t whom = suspicion_->whom < left_after_.size() ? suspicion_->whom : seat_.rank;
  if (left_after_[whom]) return {FaultKind::kAbsent, whom, kHasLeft, true};
  return {out_of_reach(whom), whom, "rank " + std::to_string(seat_.rank) + " waited for it and heard no verdict", true};
}

}  // namespace transload
