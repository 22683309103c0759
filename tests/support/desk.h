// A rendezvous without sockets: a test hands it frames as a socket would, and its answers are kept by connection.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/meetings.h"
#include "control/secret.h"
#include "tests/support/milliseconds.h"

namespace transload {

constexpr uint64_t kHere = 5;  // the nonce of the process that the server lives in

class Desk {
 public:
  explicit Desk(MeetingsOptions options = {kHere, 77, "", ""}) : meetings(std::move(options)) {}
  void open(uint64_t connection, bool remote = false, const std::string& unserved = "") {
    keep(meetings.opened(connection, {"10.0.0.1", remote, unserved}, now));
  }
  std::string nonce_for(uint64_t connection) const {
    return unpack_challenge(got(connection, FrameType::kChallenge).value()).value().nonce;
  }
  // Says hello as a rank of a job, with the proof of a secret.
  void hello_of(uint64_t connection, uint32_t rank, const std::string& job, const std::string& secret) {
    open(connection);
    Hello hello{"g", rank, 2, 0, kHere, 1000, {0, 0}, "", job, "its own nonce", ""};
    hello.proof = proof(secret, {Prover::kMember, nonce_for(connection), said_in(hello)});
    send(connection, pack(hello));
  }
  std::string why_refused(uint64_t connection) const {
    const auto frame = got(connection, FrameType::kRefused);
    return frame ? unpack_refused(*frame).value().why : "it was not refused";
  }
  void send(uint64_t connection, const std::string& frame) {
    const FrameHead head = unpack_head(frame.data());
    keep(meetings.frame(connection, FrameType(head.type), std::string_view(frame).substr(kFrameHeadBytes), now));
  }
  void hello(uint64_t connection, uint32_t rank, uint32_t ranks, const std::string& name = "g") {
    open(connection);
    send(connection, pack(words(rank, ranks, name)));
  }
  static Hello words(uint32_t rank, uint32_t ranks, const std::string& name = "g") {
    return {name, rank, ranks, 0, kHere, 1000, std::vector<uint32_t>(ranks, 0)};
  }
  void end() { keep(meetings.end(now, "it was closed")); }
  void close(uint64_t connection) { keep(meetings.closed(connection, now)); }
  void pass(uint64_t duration) {
    for (const uint64_t end = now + duration; now < end;) {
      now += 50 * ms;
      keep(meetings.tick(now));
    }
  }
  // Time passes without a tick, as in a process that is stopped.
  void stop_for(uint64_t duration) { now += duration; }
  void tick() { keep(meetings.tick(now)); }
  // The last frame of this type that was sent to a connection.
  std::optional<std::string> got(uint64_t connection, FrameType type) const {
    for (auto at = sent.rbegin(); at != sent.rend(); ++at) {
      if (at->first != connection || uint8_t(at->second[4]) != uint8_t(type)) continue;
      return at->second.substr(kFrameHeadBytes);
    }
    return std::nullopt;
  }
  std::optional<Verdict> verdict(uint64_t connection) const {
    for (const auto& [to, frame] : sent) {
      if (to != connection || uint8_t(frame[4]) != uint8_t(FrameType::kMessage)) continue;
      const auto message = unpack_message(std::string_view(frame).substr(kFrameHeadBytes));
      if (message && std::holds_alternative<Verdict>(*message)) return std::get<Verdict>(*message);
    }
    return std::nullopt;
  }

  Meetings meetings;
  std::vector<std::pair<uint64_t, std::string>> sent;
  std::set<uint64_t> shown_out;
  uint64_t now = 1000 * ms;

 private:
  void keep(const Meetings::Letters& letters) {
    for (const Letter& letter : letters) {
      if (letter.frame) sent.emplace_back(letter.to, *letter.frame);
      if (letter.close) shown_out.insert(letter.to);
    }
  }
};

}  // namespace transload
