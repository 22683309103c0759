// Groups by name, their gathers and their arbiters: see meetings.h.
#include "control/meetings.h"

#include <algorithm>
#include <utility>

#include "control/secret.h"

namespace transload {

namespace {

constexpr const char* kTooManyOpen = "it waits for the ranks of too many groups at once, of which this is the oldest";

Letter letter(uint64_t to, std::string frame, bool close = false) {
  return {to, std::make_shared<const std::string>(std::move(frame)), close, false};
}

// True if a member may say this to its arbiter. Signs the message with the member's rank, whatever was written there.
bool own_up(Message& message, uint32_t rank, uint32_t ranks) {
  const auto* verdict = std::get_if<Verdict>(&message);
  bool speaks = verdict != nullptr && names_one_of(*verdict, ranks);
  const auto sign = [&](auto* said) {
    if (said == nullptr) return;
    said->rank = rank;
    speaks = true;
  };
  sign(std::get_if<Heartbeat>(&message));
  sign(std::get_if<Suspicion>(&message));
  sign(std::get_if<Mismatch>(&message));
  sign(std::get_if<Failed>(&message));
  sign(std::get_if<Goodbye>(&message));
  sign(std::get_if<Withdrawn>(&message));
  return speaks;
}

}  // namespace

// While this process was stopped nobody could be heard, and that time is nobody's fault. Ticks come as long as anybody
// is here, so a gap between them shows a stop.
void Meetings::notice_own_stop(uint64_t now) {
  const uint64_t gap = now - std::exchange(last_now_, now);
  if (gap < kSilenceNs) return;
  for (const auto& party : parties_) {
    party->expires_at += gap;
    party->round.expires_at += gap;
    party->judged_at += party->judged() ? gap : 0;
    for (auto& [rank, unserved] : party->unserved) unserved.since += gap;
  }
  for (auto& [connection, guest] : guests_) guest.since += gap;
}

Meetings::Letters Meetings::opened(uint64_t connection, Ends ends, uint64_t now) {
  notice_own_stop(now);
  Guest guest;
  guest.ends = std::move(ends);
  guest.since = now;
  guest.nonce = random_nonce();
  Letters letters{letter(connection, pack(Challenge{guest.nonce}))};
  guests_.emplace(connection, std::move(guest));
  strangers_.insert(connection);
  if (strangers_.size() > kStrangersMax) letters.push_back({*strangers_.begin(), nullptr, true, false});
  return letters;
}

size_t Meetings::frame_bytes_max(uint64_t connection, FrameType type) const {
  const auto guest = guests_.find(connection);
  if (guest == guests_.end()) return 0;
  if (!guest->second.party) return kHelloBytesMax;
  if (type == FrameType::kMessage) return kMessageBytesMax;
  return type == FrameType::kGather ? gather_bytes_max(guest->second.party->ranks) + kFrameBytesMax - kGatherBytesMax
                                    : 0;
}

// Room for one round, which a member reads before it takes part in the next one, and for what is told meanwhile.
size_t Meetings::waiting_bytes_max(uint64_t connection) const {
  const auto guest = guests_.find(connection);
  if (guest == guests_.end() || !guest->second.party) return kMessageBytesMax;
  const uint32_t ranks = guest->second.party->ranks;
  return ranks * (gather_bytes_max(ranks) + 64) + 2 * kMessageBytesMax;
}

bool Meetings::pending() const {
  return std::any_of(parties_.begin(), parties_.end(), [](const auto& party) { return party->arbiter.pending(); });
}

bool Meetings::in_use() const {
  return std::any_of(parties_.begin(), parties_.end(), [](const auto& party) { return party->came > party->gone; });
}

Meetings::Letters Meetings::frame(uint64_t connection, FrameType type, std::string_view body, uint64_t now) {
  notice_own_stop(now);
  const auto found = guests_.find(connection);
  if (found == guests_.end()) return {};
  Guest& guest = found->second;
  if (!guest.party && type == FrameType::kHello) {
    const std::optional<Versions> versions = unpack_versions(body);
    if (versions && *versions != Versions{}) {
      const std::string why = "the rendezvous has " + text_of(Versions{}) + ", this rank has " + text_of(*versions);
      return {letter(connection, pack(Refused{false, why + ": all ranks must run one build"}), true)};
    }
    if (const std::optional<Hello> hello = unpack_hello(body)) return this->hello(connection, *hello, now);
  } else if (guest.party && type == FrameType::kGather) {
    if (std::optional<Gather> gather = unpack_gather(body)) return this->gather(guest, std::move(*gather), now);
  } else if (guest.party && type == FrameType::kMessage) {
    std::optional<Message> message = unpack_message(body);
    if (message && own_up(*message, guest.rank, guest.party->ranks))
      return this->message(guest, connection, std::move(*message), now);
  }
  return {{connection, nullptr, true, false}};  // garbage ends the connection
}

// Finds the party that this rank belongs to; null: a new one. Or returns why the rank may not come in.
std::optional<Refused> Meetings::place_for(const Hello& hello, uint64_t now, std::shared_ptr<Party>& party) {
  const auto found = current_.find({hello.job, hello.name});
  if (found == current_.end()) return std::nullopt;
  const std::shared_ptr<Party>& there = found->second;
  const bool fits = there->ranks == hello.ranks;
  const SeatState seat = hello.rank < there->ranks ? there->places[hello.rank].seat : SeatState::kEmpty;
  if (there->judged()) {
    if (fits && seat == SeatState::kEmpty && now - there->judged_at < kLateNs) party = there;
    return std::nullopt;
  }
  if (seat == SeatState::kLeft) return std::nullopt;
  const std::string who = "rank " + std::to_string(hello.rank) + " of group \"" + hello.name + "\"";
  if (!fits) {
    return Refused{there->gone > 0, who + " gave ranks " + std::to_string(hello.ranks) +
                                        ", but those who came before gave " + std::to_string(there->ranks)};
  }
  if (seat == SeatState::kHere) return Refused{true, who + " is already there: two processes gave the same rank"};
  party = there;
  return std::nullopt;
}

// Why this rank does not belong here at all. It may try again: the server that it means may be about to come.
std::optional<Refused> Meetings::stranger(const Guest& guest, const Hello& hello) const {
  if (hello.server != 0 && hello.server != options_.server) return Refused{true, "another rendezvous listens here"};
  if (!options_.job.empty() && hello.job != options_.job)
    return Refused{true, "this is the rendezvous of job \"" + options_.job + "\", but rank " +
                             std::to_string(hello.rank) + " is of job \"" + hello.job +
                             "\": jobs of one host need different ports (TRANSLOAD_PORT sets one)"};
  if (!proves(hello.proof, options_.secret, {Prover::kMember, guest.nonce, said_in(hello)}))
    return Refused{
        true, "rank " + std::to_string(hello.rank) + " of job \"" + hello.job +
                  "\" does not prove the job's secret (TRANSLOAD_SECRET or TRANSLOAD_SECRET_FILE, bootstrap.secret)"};
  return std::nullopt;
}

Meetings::Letters Meetings::hello(uint64_t connection, const Hello& hello, uint64_t now) {
  Guest& guest = guests_.at(connection);
  if (const std::optional<Refused> refused = stranger(guest, hello)) return {letter(connection, pack(*refused), true)};
  std::shared_ptr<Party> party;
  if (const std::optional<Refused> refused = place_for(hello, now, party))
    return {letter(connection, pack(*refused), true)};
  if (!guest.ends.unserved.empty()) return turn_away(connection, hello, party.get(), now);
  if (!party) {
    party = std::make_shared<Party>(hello);
    party->expires_at = now + hello.deadline_ms * kMillisecondNs;
    parties_.push_back(party);
    current_[{hello.job, hello.name}] = party;
  }
  guest.party = party;
  guest.its_nonce = hello.nonce;
  strangers_.erase(connection);
  Letters letters = seat(guest, connection, hello, now);
  bound_open_seats(now, letters);
  return letters;
}

void Meetings::bound_open_seats(uint64_t now, Letters& letters) {
  const auto open = [](const Party& party) { return !party.full() && party.came > party.gone; };
  uint64_t seats = 0;
  for (const auto& party : parties_) seats += open(*party) ? party->ranks : 0;
  for (const auto& party : parties_) {
    if (seats <= kOpenSeatsMax) return;
    if (!open(*party)) continue;
    seats -= party->ranks;
    tell(*party, party->arbiter.take(Verdict{FaultKind::kRendezvous, kNobody, kTooManyOpen}, now), letters, now);
    for (const PartySeat& place : party->places)
      if (place.seat == SeatState::kHere) letters.push_back({place.connection, nullptr, true, false});
  }
}

// Turns away a rank that cannot be served, and tells it why. If it stays unserved, the members that wait for it are
// told later.
Meetings::Letters Meetings::turn_away(uint64_t connection, const Hello& hello, Party* party, uint64_t now) {
  const std::string& why = guests_.at(connection).ends.unserved;
  if (party == nullptr) return {letter(connection, pack(Refused{true, why}), true)};
  if (party->judged()) return {letter(connection, pack(Message(party->arbiter.verdict())), true)};
  party->unserved.try_emplace(hello.rank, Unserved{why, now});
  return {letter(connection, pack(Refused{true, why}), true)};
}

Meetings::Letters Meetings::seat(Guest& guest, uint64_t connection, const Hello& hello, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  guest.rank = hello.rank;
  PartySeat& place = party.places[hello.rank];
  place.seat = SeatState::kHere;
  place.connection = connection;
  ++party.came;
  party.unserved.erase(hello.rank);
  if (hello.rank == 0) {
    party.served_by_rank_0 = hello.process != 0 && hello.process == options_.process;
    party.note = hello.note;
  }
  if (party.judged()) {
    letters.push_back(letter(connection, pack(Message(party.arbiter.verdict()))));
  } else if (party.full()) {
    party.arbiter.start(now);
    party.beat_at = now;
    welcome(party, letters);
  }
  return letters;
}

// Each member gets a welcome of its own, because each has asked for a proof.
void Meetings::welcome(const Party& party, Letters& letters) const {
  Welcome welcome{party.served_by_rank_0, {}};
  for (const PartySeat& place : party.places) {
    if (place.seat != SeatState::kHere) continue;
    welcome.proof = proof(options_.secret, {Prover::kServer, guests_.at(place.connection).its_nonce, said_in(welcome)});
    letters.push_back(letter(place.connection, pack(welcome)));
  }
}

Meetings::Letters Meetings::gather(Guest& guest, Gather gather, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  if (party.judged()) return letters;
  Round& round = party.round;
  if (round.parts.empty()) round.parts.resize(party.ranks);
  // No member may be ahead of the others, because there would be no bound on what had to be kept for them.
  if (!party.full() || gather.round != party.rounds || round.parts[guest.rank] ||
      gather.mine.size() > gather_bytes_max(party.ranks))
    return {{party.places[guest.rank].connection, nullptr, true, false}};
  if (round.count == 0) round.expires_at = now + gather.deadline_ms * kMillisecondNs;
  round.parts[guest.rank] = std::move(gather.mine);
  if (++round.count == party.ranks) give_round(party, letters);
  return letters;
}

void Meetings::give_round(Party& party, Letters& letters) {
  Round round = std::exchange(party.round, {});
  Gathered some{party.rounds++, 0, reach(party), {}};
  size_t bytes = 0;
  for (uint32_t rank = 0; rank < party.ranks; ++rank) {
    bytes += round.parts[rank]->size() + 4;
    some.parts.push_back(std::move(*round.parts[rank]));
    const size_t next = rank + 1 < party.ranks ? round.parts[rank + 1]->size() + 4 : kFrameBytesMax;
    if (bytes + next <= kGatherBytesMax) continue;
    to_all(party, pack(some), false, letters);
    some.first = rank + 1;
    some.parts.clear();
    bytes = 0;
  }
}

// The server's address on a connection that came from another host.
std::string Meetings::reach(const Party& party) const {
  for (const PartySeat& place : party.places) {
    const auto guest = guests_.find(place.connection);
    if (guest != guests_.end() && guest->second.ends.remote) return guest->second.ends.server;
  }
  return {};
}

Meetings::Letters Meetings::message(Guest& guest, uint64_t connection, const Message& message, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  tell(party, party.arbiter.take(message, now), letters, now);
  if (std::holds_alternative<Goodbye>(message)) {
    PartySeat& place = party.places[guest.rank];
    if (place.seat == SeatState::kHere) ++party.gone;
    place.seat = SeatState::kLeft;
    // This comes after the letters to the others: the farewell allows this rank's process to end.
    letters.push_back(letter(connection, pack_farewell(), true));
  }
  if (std::holds_alternative<Withdrawn>(message)) letters.push_back(letter(connection, pack(message)));  // the answer
  return letters;
}

Meetings::Letters Meetings::closed(uint64_t connection, uint64_t now) {
  notice_own_stop(now);
  Letters letters;
  const auto found = guests_.find(connection);
  if (found == guests_.end()) return letters;
  const Guest guest = std::move(found->second);
  guests_.erase(found);
  strangers_.erase(connection);
  if (!guest.party) return letters;
  Party& party = *guest.party;
  PartySeat& place = party.places[guest.rank];
  if (place.seat == SeatState::kHere) {
    place.seat = SeatState::kLost;
    ++party.gone;
    tell(party, party.arbiter.take(Lost{guest.rank}, now), letters, now);
  }
  if (parties_.size() > kFinishedMax) forget_finished(now);
  return letters;
}

// Says why not all ranks have come in time, if they have not.
std::optional<Message> Meetings::missed_seats(const Party& party, uint64_t now) const {
  const bool expired = now >= party.expires_at;
  for (const auto& [rank, unserved] : party.unserved) {
    if (!expired && now - unserved.since < kTurnedAwayNs) continue;
    return Verdict{FaultKind::kRendezvous, kNobody,
                   unserved.why + ": rank " + std::to_string(rank) + " was turned away"};
  }
  if (!expired) return std::nullopt;
  // Only rank 0 has come, and it has noted why its address may not lead the others here.
  if (party.came == 1 && !party.note.empty()) return Verdict{FaultKind::kUnreachable, 0, party.note};
  uint32_t rank = 0;
  while (party.places[rank].seat != SeatState::kEmpty) ++rank;
  return Missing{rank};
}

// What members have waited for in vain: the lowest rank that is missing, or why the rendezvous cannot serve one.
std::optional<Message> Meetings::missed(const Party& party, uint64_t now) const {
  if (!party.full()) return missed_seats(party, now);
  if (party.round.count == 0) return std::nullopt;
  for (uint32_t rank = 0; rank < party.ranks; ++rank) {
    if (party.round.parts[rank]) continue;
    if (now >= party.round.expires_at || party.places[rank].seat == SeatState::kLeft) return Missing{rank};
  }
  return std::nullopt;
}

void Meetings::tick_party(Party& party, uint64_t now, Letters& letters) {
  if (party.judged()) return;
  if (party.full()) tell(party, party.arbiter.tick(now), letters, now);
  if (const std::optional<Message> why = missed(party, now)) tell(party, party.arbiter.take(*why, now), letters, now);
  if (party.full() && !party.judged() && now - party.beat_at >= kHeartbeatNs) {
    party.beat_at = now;
    to_all(party, pack(Message(Heartbeat{})), true, letters);
  }
}

Meetings::Letters Meetings::tick(uint64_t now) {
  notice_own_stop(now);
  Letters letters;
  for (const auto& party : parties_) tick_party(*party, now, letters);
  for (const uint64_t stranger : strangers_) {
    if (now - guests_.at(stranger).since >= kHelloNs) letters.push_back({stranger, nullptr, true, false});
  }
  forget_finished(now);
  return letters;
}

Meetings::Letters Meetings::end(uint64_t now, const std::string& why) {
  Letters letters;
  const Verdict verdict{FaultKind::kRendezvous, kNobody, why};
  for (const auto& party : parties_) {
    if (!party->judged()) tell(*party, party->arbiter.take(verdict, now), letters, now);
  }
  return letters;
}

// Forgets parties that all have left, except those that a late rank must still hear of.
void Meetings::forget_finished(uint64_t now) {
  const auto finished = [](const std::shared_ptr<Party>& party) { return party->gone == party->came; };
  size_t surplus = size_t(std::count_if(parties_.begin(), parties_.end(), finished));
  const auto over = [&](const std::shared_ptr<Party>& party) {
    if (!finished(party)) return false;
    if (party->judged() && now - party->judged_at < kLateNs && surplus <= kFinishedMax) return false;
    --surplus;
    const auto found = current_.find(party->of);
    if (found != current_.end() && found->second == party) current_.erase(found);
    return true;
  };
  std::vector<std::shared_ptr<Party>> rest;  // keeps the order, so that the oldest go first
  for (std::shared_ptr<Party>& party : parties_)
    if (!over(party)) rest.push_back(std::move(party));
  parties_ = std::move(rest);
}

void Meetings::tell(Party& party, const std::vector<Message>& messages, Letters& letters, uint64_t now) {
  for (const Message& message : messages) to_all(party, pack(message), false, letters);
  if (party.judged() && party.judged_at == 0) {
    party.judged_at = now;
    party.round = {};
  }
}

void Meetings::to_all(const Party& party, std::string frame, bool droppable, Letters& letters) const {
  const auto shared = std::make_shared<const std::string>(std::move(frame));
  for (const PartySeat& place : party.places) {
    if (place.seat == SeatState::kHere) letters.push_back({place.connection, shared, false, droppable});
  }
}

}  // namespace transload
