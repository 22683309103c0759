// A whole rendezvous, fed with whatever members and strangers may do, at whatever times. It writes to nobody who is not
// there, says only what members believe, gives each at most one verdict, and holds nothing once all have gone.
//
// Input: steps, each an Act and its numbers. Frames are garbage, or well formed with numbers of the input.
#include "base/bytes.h"
#include "control/meetings.h"
#include "tests/fuzz/target.h"

#include <map>

namespace transload {
namespace {

enum Act : uint8_t { kOpen, kClose, kPass, kGarbage, kSayHello, kSayGather, kSayMessage, kActs };

constexpr uint32_t kChairs = 8;     // connections at once
constexpr uint32_t kRanksMost = 4;  // of a group
constexpr uint64_t kPassMax = 250;  // ticks of one step

class Room {
 public:
  void act(ByteReader& in) {
    const uint8_t act = in.u8() % kActs, chair = in.u8() % kChairs;
    if (act == kPass) return pass(chair + 1, in.u8());
    if (act == kOpen || chairs_[chair] == 0) open(chair, in.u8() % 2 == 1);
    if (act == kClose) close(chair);
    if (act == kGarbage) {
      const FrameType type = FrameType(in.u8());
      const std::string body = in.text();
      if (body.size() <= meetings_.frame_bytes_max(chairs_[chair], type)) say(chair, type, body);
    }
    if (act == kSayHello) say(chair, pack(hello(in)));
    if (act == kSayGather) say(chair, pack(gather(in)));
    if (act == kSayMessage) say(chair, pack(message(in)));
  }

  // Everybody goes; then nothing may be kept for longer than a rank that comes late needs.
  void leave() {
    for (uint32_t chair = 0; chair < kChairs; ++chair) close(chair);
    for (uint64_t waited = 0; waited <= kLateNs + kTickNs; waited += kTickNs) tick(kTickNs);
    TRANSLOAD_CHECK(meetings_.connections() == 0);
    TRANSLOAD_CHECK(meetings_.parties() == 0);
    TRANSLOAD_CHECK(!meetings_.pending());
  }

 private:
  static Hello hello(ByteReader& in) {
    Hello hello;
    hello.name = std::string(1, char('a' + in.u8() % 2));
    hello.ranks = 1 + in.u8() % kRanksMost;
    hello.rank = in.u8() % hello.ranks;
    hello.deadline_ms = in.u8() * 16u;
    for (uint32_t rank = 0; rank < hello.ranks; ++rank) hello.node_of_rank.push_back(rank % 2 * (hello.ranks - 1));
    return hello;
  }
  static Gather gather(ByteReader& in) {
    Gather gather;
    gather.round = in.u8() % 4;
    gather.deadline_ms = in.u8() * 16u;
    gather.mine = std::string(in.u8() * 64u, 'x');
    return gather;
  }
  static Message message(ByteReader& in) {
    const uint8_t kind = in.u8() % 5;
    const uint32_t rank = in.u8() % 5, whom = in.u8() % 5;  // one past the last, too
    if (kind == 0) {
      Heartbeat beat;
      beat.rank = rank;
      beat.epoch = in.u8() % 4;
      beat.phase = in.u8() % 8;
      beat.waiting = in.u8() % 2 == 1;
      beat.waiting_for = whom == 4 ? kNobody : whom;
      beat.sent = in.u8() * kHeartbeatNs;
      return beat;
    }
    if (kind == 1) {
      Suspicion suspicion;
      suspicion.rank = rank;
      suspicion.whom = whom == 4 ? kNobody : whom;
      suspicion.epoch = in.u8() % 4;
      suspicion.waited = in.u8() * kHeartbeatNs;
      if (suspicion.waited == 0) suspicion.cut = "x";
      return suspicion;
    }
    if (kind == 2) return Mismatch{rank, whom, "x"};
    if (kind == 3) return Goodbye{rank};
    return Verdict{FaultKind(1 + in.u8() % uint8_t(FaultKind::kRendezvous)), whom == 4 ? kNobody : whom, "x"};
  }

  void open(uint8_t chair, bool remote) {
    close(chair);
    chairs_[chair] = ++last_connection_;
    verdicts_[last_connection_] = 0;
    meetings_.opened(last_connection_, {"10.0.0.1", remote}, now_);
  }
  void close(uint32_t chair) {
    if (chairs_[chair] == 0) return;
    verdicts_.erase(chairs_[chair]);
    const Meetings::Letters letters = meetings_.closed(chairs_[chair], now_);
    chairs_[chair] = 0;
    read(letters);
  }
  void pass(uint32_t unit, uint64_t ticks) {
    for (uint64_t i = 0; i < ticks % kPassMax; ++i) tick(unit * unit * kTickPendingNs);
  }
  void tick(uint64_t duration) {
    now_ += duration;
    read(meetings_.tick(now_));
  }
  void say(uint8_t chair, const std::string& frame) {
    say(chair, FrameType(unpack_head(frame.data()).type), std::string_view(frame).substr(kFrameHeadBytes));
  }
  void say(uint8_t chair, FrameType type, std::string_view body) {
    read(meetings_.frame(chairs_[chair], type, body, now_));
  }

  void read(const Meetings::Letters& letters) {
    for (const Letter& letter : letters) {
      TRANSLOAD_CHECK(verdicts_.count(letter.to) == 1);
      if (letter.frame == nullptr) continue;
      const FrameHead head = unpack_head(letter.frame->data());
      const std::string_view body = std::string_view(*letter.frame).substr(kFrameHeadBytes);
      TRANSLOAD_CHECK(head.body_bytes == body.size() && body.size() <= kFrameBytesMax);
      read(letter.to, FrameType(head.type), body);
    }
  }
  void read(uint64_t connection, FrameType type, std::string_view body) {
    if (type == FrameType::kRefused) {
      TRANSLOAD_CHECK(unpack_refused(body));
    } else if (type == FrameType::kWelcome) {
      TRANSLOAD_CHECK(unpack_welcome(body));
    } else if (type == FrameType::kGathered) {
      TRANSLOAD_CHECK(unpack_gathered(body));
    } else if (type == FrameType::kMessage) {
      const std::optional<Message> message = unpack_message(body);
      TRANSLOAD_CHECK(message);
      TRANSLOAD_CHECK(is_for_members(*message, kRanksMost));
      if (std::holds_alternative<Verdict>(*message)) TRANSLOAD_CHECK(++verdicts_[connection] == 1);
    } else {
      TRANSLOAD_CHECK(type == FrameType::kFarewell && body.empty());
    }
  }

  Meetings meetings_{MeetingsOptions{}};
  uint64_t chairs_[kChairs] = {};          // the connection that sits there; 0: none
  std::map<uint64_t, uint32_t> verdicts_;  // that a connection, if it is open, was told
  uint64_t last_connection_ = 0;
  uint64_t now_ = 1'000 * kMillisecondNs;
};

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  ByteReader in(text_of(data, bytes));
  Room room;
  for (int steps = 0; steps < 100 && in.left() > 0; ++steps) room.act(in);
  room.leave();
  return 0;
}
