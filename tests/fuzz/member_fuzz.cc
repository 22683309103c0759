// A member that hears whatever a rendezvous, or what has taken its place, may say, at whatever times. It gives one
// verdict at most, which names a rank of its group or none; says only what a rendezvous can read; and a gather ends
// with one part of each rank.
//
// Input: steps, each an Act and its numbers. Frames are of any type, their bodies as they are.
#include "base/bytes.h"
#include "control/frame.h"
#include "control/gather_round.h"
#include "tests/fuzz/target.h"

#include <optional>

namespace transload {
namespace {

enum Act : uint8_t {
  kHear,
  kPass,
  kBegin,  // a gather
  kExpire,
  kGiveUpWait,
  kWithdraw,
  kDiffer,
  kFail,
  kLoseArbiter,
  kGiveUp,
  kActs
};

constexpr uint32_t kRanks = 3, kMe = 1;

class Seat {
 public:
  void act(ByteReader& in) {
    const uint8_t act = in.u8() % kActs, with = in.u8();
    if (act == kHear) hear(FrameType(with % 10), in.text());
    if (act == kPass) now_ += with * kWatchNs;
    if (act == kBegin) round_.begin(), gathering_ = true;
    if (act == kExpire) react(member_.expired(suspicion(with), now_ - kHeartbeatNs, now_));
    if (act == kGiveUpWait) react(member_.gave_up(suspicion(with), now_ - kHeartbeatNs, now_));
    if (act == kWithdraw) react(member_.withdraw(now_));
    if (act == kDiffer) react(member_.mismatch({kMe, with % kRanks, "x", with >= 128}, now_));
    if (act == kFail) react(member_.failed("x", now_));
    if (act == kLoseArbiter) react(member_.arbiter_gone(now_));
    if (act == kGiveUp) react(member_.give_up(now_));
    Heartbeat mine;
    mine.rank = kMe;
    mine.epoch = with % 4;
    mine.waiting = with % 2 == 1;
    react(member_.tick(mine, now_));
    if (member_.verdict().kind != FaultKind::kNone) TRANSLOAD_CHECK(verdicts_ == 1);
  }

 private:
  static Suspicion suspicion(uint8_t with) {
    Suspicion suspicion;
    suspicion.rank = kMe;
    suspicion.epoch = with / 4 % 4;
    suspicion.whom = with % 4 == 3 ? kNobody : with % 4;
    return suspicion;
  }

  // As Control does.
  void hear(FrameType type, const std::string& body) {
    if (type == FrameType::kMessage) {
      const std::optional<Message> message = unpack_message(body);
      if (!message || !is_for_members(*message, kRanks)) return react(member_.arbiter_garbled(now_));
      return react(member_.take(*message, now_));
    }
    std::optional<Gathered> gathered = type == FrameType::kGathered ? unpack_gathered(body) : std::nullopt;
    if (!gathered || !round_.take(std::move(*gathered))) return react(member_.arbiter_garbled(now_));
    if (!gathering_ || !round_.whole()) return;
    gathering_ = false;
    TRANSLOAD_CHECK(round_.end().size() == kRanks);
  }

  void react(const Reaction& reaction) {
    for (const Message& message : reaction.to_arbiter) {
      const std::string frame = pack(message);
      const std::optional<Message> heard = unpack_message(std::string_view(frame).substr(kFrameHeadBytes));
      TRANSLOAD_CHECK(heard && pack(*heard) == frame);
    }
    if (!reaction.verdict) return;
    const Verdict& verdict = *reaction.verdict;
    TRANSLOAD_CHECK(++verdicts_ == 1);
    TRANSLOAD_CHECK(verdict.kind == FaultKind::kRendezvous ? verdict.culprit == kNobody : verdict.culprit < kRanks);
    TRANSLOAD_CHECK(member_.verdict().kind == verdict.kind && !member_.suspecting());
  }

  uint64_t now_ = 1'000 * kMillisecondNs;
  Member member_{MemberSeat{kMe, {0, 0, 1}, true}, now_};
  GatherRound round_{kRanks};
  bool gathering_ = false;
  uint32_t verdicts_ = 0;
};

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  ByteReader in(text_of(data, bytes));
  Seat seat;
  for (int steps = 0; steps < 100 && in.left() > 0; ++steps) seat.act(in);
  return 0;
}
