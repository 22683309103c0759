// Frames to bytes and back.
#include "control/frame.h"

#include "base/bytes.h"

namespace transload {

namespace {

constexpr size_t kVersionsBytes = 12;  // the magic and two versions

std::string frame(FrameType type, const std::string& body) {
  ByteWriter head;
  head.u32(uint32_t(body.size())).u8(uint8_t(type));
  return head.take() + body;
}

template <class T>
std::optional<T> if_done(const ByteReader& reader, T value) {
  if (!reader.done()) return std::nullopt;
  return value;
}

struct MessageWriter {
  ByteWriter& to;
  void operator()(const Heartbeat& m) {
    to.u32(m.rank).u64(m.epoch).u32(m.phase).u8(m.waiting).u32(m.waiting_for);
    to.u64(m.sent).u64(m.entered).u64(m.entered_before);
  }
  void operator()(const Suspicion& m) {
    to.u32(m.rank)
        .u64(m.epoch)
        .u32(m.whom)
        .u64(m.seen)
        .u64(m.expected)
        .u64(m.waited)
        .u64(m.overdue)
        .u64(m.sent)
        .text(m.cut);
  }
  void operator()(const Lost& m) { to.u32(m.rank); }
  void operator()(const Goodbye& m) { to.u32(m.rank).u64(m.epoch); }
  void operator()(const Mismatch& m) { to.u32(m.rank).u32(m.other).text(m.argument).u8(m.certain); }
  void operator()(const Missing& m) { to.u32(m.rank); }
  void operator()(const Failed& m) { to.u32(m.rank).text(m.reason); }
  void operator()(const Verdict& m) { to.u8(uint8_t(m.kind)).u32(m.culprit).text(m.detail).u8(m.own_view); }
  void operator()(const Withdrawn& m) { to.u32(m.rank); }
};

Heartbeat read_heartbeat(ByteReader& from) {
  Heartbeat m;
  m.rank = from.u32();
  m.epoch = from.u64();
  m.phase = from.u32();
  m.waiting = from.flag();
  m.waiting_for = from.u32();
  m.sent = from.u64();
  m.entered = from.u64();
  m.entered_before = from.u64();
  return m;
}

Suspicion read_suspicion(ByteReader& from) {
  Suspicion m;
  m.rank = from.u32();
  m.epoch = from.u64();
  m.whom = from.u32();
  m.seen = from.u64();
  m.expected = from.u64();
  m.waited = from.u64();
  m.overdue = from.u64();
  m.sent = from.u64();
  m.cut = from.text();
  return m;
}

}  // namespace

std::string text_of(const Versions& versions) {
  return "protocol " + std::to_string(versions.protocol) + ", layout " + std::to_string(versions.layout);
}

std::string said_in(const Hello& hello) {
  ByteWriter body;
  body.u32(kControlMagic).u32(kProtocolVersion).u32(kLayoutVersion).u64(hello.server).u64(hello.process);
  body.u32(hello.rank).u32(hello.ranks).u32(hello.deadline_ms).text(hello.job).text(hello.name).text(hello.nonce);
  body.text(hello.note);
  for (const uint32_t node : hello.node_of_rank) body.u32(node);
  return body.take();
}

std::string said_in(const Welcome& welcome) {
  ByteWriter body;
  body.u32(kControlMagic).u8(welcome.arbiter_in_rank_0);
  return body.take();
}

std::string pack(const Challenge& challenge) {
  ByteWriter body;
  body.u32(kControlMagic).u32(kProtocolVersion).u32(kLayoutVersion).text(challenge.nonce);
  return frame(FrameType::kChallenge, body.take());
}

std::string pack(const Hello& hello) {
  return frame(FrameType::kHello, said_in(hello) + ByteWriter().text(hello.proof).take());
}

std::string pack(const Welcome& welcome) {
  return frame(FrameType::kWelcome, said_in(welcome) + ByteWriter().text(welcome.proof).take());
}

std::string pack(const Refused& refused) {
  ByteWriter body;
  body.u32(kControlMagic).u8(refused.retry).text(refused.why);
  return frame(FrameType::kRefused, body.take());
}

std::string pack(const Gather& gather) {
  ByteWriter body;
  body.u32(gather.round).u32(gather.deadline_ms).text(gather.mine);
  return frame(FrameType::kGather, body.take());
}

std::string pack(const Gathered& gathered) {
  ByteWriter body;
  body.u32(gathered.round).u32(gathered.first).text(gathered.reach).u32(uint32_t(gathered.parts.size()));
  for (const std::string& part : gathered.parts) body.text(part);
  return frame(FrameType::kGathered, body.take());
}

std::string pack(const Message& message) {
  ByteWriter body;
  body.u8(uint8_t(message.index()));
  std::visit(MessageWriter{body}, message);
  return frame(FrameType::kMessage, body.take());
}

std::string pack_farewell() { return frame(FrameType::kFarewell, ""); }

FrameHead unpack_head(const char* bytes) {
  ByteReader reader(std::string_view(bytes, kFrameHeadBytes));
  const uint32_t body_bytes = reader.u32();
  return {body_bytes, reader.u8()};
}

std::optional<Versions> unpack_versions(std::string_view body) {
  ByteReader reader(body);
  if (reader.u32() != kControlMagic) return std::nullopt;
  Versions versions;
  versions.protocol = reader.u32();
  versions.layout = reader.u32();
  if (!reader.ok()) return std::nullopt;
  return versions;
}

std::optional<Challenge> unpack_challenge(std::string_view body) {
  if (unpack_versions(body) != Versions{}) return std::nullopt;
  ByteReader reader(body.substr(kVersionsBytes));
  const Challenge challenge{reader.text()};
  if (challenge.nonce.size() > kProofBytesMax) return std::nullopt;
  return if_done(reader, challenge);
}

std::optional<Hello> unpack_hello(std::string_view body) {
  if (unpack_versions(body) != Versions{}) return std::nullopt;
  ByteReader reader(body.substr(kVersionsBytes));
  Hello hello;
  hello.server = reader.u64();
  hello.process = reader.u64();
  hello.rank = reader.u32();
  hello.ranks = reader.u32();
  hello.deadline_ms = reader.u32();
  hello.job = reader.text();
  hello.name = reader.text();
  hello.nonce = reader.text();
  hello.note = reader.text();
  if (!reader.ok() || hello.ranks == 0 || hello.ranks > kControlRanksMax || hello.rank >= hello.ranks)
    return std::nullopt;
  if (hello.job.size() > kNameBytesMax || hello.name.size() > kNameBytesMax || hello.nonce.size() > kProofBytesMax)
    return std::nullopt;
  if (hello.note.size() > kNoteBytesMax || reader.left() < 4 * size_t(hello.ranks)) return std::nullopt;
  for (uint32_t rank = 0; rank < hello.ranks; ++rank) {
    hello.node_of_rank.push_back(reader.u32());
    if (hello.node_of_rank.back() >= hello.ranks) return std::nullopt;
  }
  hello.proof = reader.text();
  if (hello.proof.size() > kProofBytesMax) return std::nullopt;
  return if_done(reader, hello);
}

std::optional<Welcome> unpack_welcome(std::string_view body) {
  ByteReader reader(body);
  if (reader.u32() != kControlMagic) return std::nullopt;
  Welcome welcome{reader.flag(), {}};
  welcome.proof = reader.text();
  if (welcome.proof.size() > kProofBytesMax) return std::nullopt;
  return if_done(reader, welcome);
}

std::optional<Refused> unpack_refused(std::string_view body) {
  ByteReader reader(body);
  if (reader.u32() != kControlMagic) return std::nullopt;
  Refused refused;
  refused.retry = reader.flag();
  refused.why = reader.text();
  return if_done(reader, refused);
}

std::optional<Gather> unpack_gather(std::string_view body) {
  ByteReader reader(body);
  Gather gather;
  gather.round = reader.u32();
  gather.deadline_ms = reader.u32();
  gather.mine = reader.text();
  if (gather.mine.size() > kGatherBytesMax) return std::nullopt;
  return if_done(reader, gather);
}

std::optional<Gathered> unpack_gathered(std::string_view body) {
  ByteReader reader(body);
  Gathered gathered;
  gathered.round = reader.u32();
  gathered.first = reader.u32();
  gathered.reach = reader.text();
  if (gathered.reach.size() > kNameBytesMax) return std::nullopt;
  const uint32_t count = reader.u32();
  if (!reader.ok() || count > kControlRanksMax) return std::nullopt;
  for (uint32_t i = 0; i < count; ++i) gathered.parts.push_back(reader.text());
  return if_done(reader, gathered);
}

std::optional<Message> unpack_message(std::string_view body) {
  ByteReader reader(body);
  const uint8_t index = reader.u8();
  Message message;
  static_assert(std::variant_size_v<Message> == 9);
  if (index == 0) {
    message = read_heartbeat(reader);
  } else if (index == 1) {
    message = read_suspicion(reader);
  } else if (index == 2) {
    message = Lost{reader.u32()};
  } else if (index == 3) {
    Goodbye m{reader.u32(), 0};
    m.epoch = reader.u64();
    message = m;
  } else if (index == 4) {
    Mismatch m{reader.u32(), 0, {}};
    m.other = reader.u32();
    m.argument = reader.text();
    m.certain = reader.flag();
    message = m;
  } else if (index == 5) {
    message = Missing{reader.u32()};
  } else if (index == 6) {
    Verdict m{FaultKind(reader.u8()), 0, {}, false};
    m.culprit = reader.u32();
    m.detail = reader.text();
    m.own_view = reader.flag();
    if (m.kind == FaultKind::kNone || m.kind > FaultKind::kRendezvous) return std::nullopt;
    message = m;
  } else if (index == 7) {
    message = Withdrawn{reader.u32()};
  } else if (index == 8) {
    Failed m{reader.u32(), {}};
    m.reason = reader.text();
    message = m;
  } else {
    return std::nullopt;
  }
  return if_done(reader, message);
}

bool is_for_members(const Message& message, uint32_t ranks) {
  if (const auto* goodbye = std::get_if<Goodbye>(&message)) return goodbye->rank < ranks;
  if (const auto* withdrawn = std::get_if<Withdrawn>(&message)) return withdrawn->rank < ranks;
  if (const auto* verdict = std::get_if<Verdict>(&message)) return names_one_of(*verdict, ranks);
  return std::holds_alternative<Heartbeat>(message);
}

}  // namespace transload
