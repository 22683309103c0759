// Groups by name, their gathers and their arbiters: see meetings.h.
#include "runtime/meetings.h"

#include <algorithm>

#include "runtime/secret.h"

namespace transload {

namespace {

Letter letter(uint64_t to, std::string frame, bool close = false) {
  return {to, std::make_shared<const std::string>(std::move(frame)), close, false};
}

// What a member may say to its arbiter, in its own name whatever it wrote there.
bool own_up(Message& message, uint32_t rank) {
  if (auto* beat = std::get_if<Heartbeat>(&message)) return beat->rank = rank, true;
  if (auto* suspicion = std::get_if<Suspicion>(&message)) return suspicion->rank = rank, true;
  if (auto* mismatch = std::get_if<Mismatch>(&message)) return mismatch->rank = rank, true;
  if (auto* goodbye = std::get_if<Goodbye>(&message)) return goodbye->rank = rank, true;
  return std::holds_alternative<Verdict>(message);
}

}  // namespace

Meetings::Letters Meetings::opened(uint64_t connection, Ends ends, uint64_t now) {
  Guest guest;
  guest.ends = std::move(ends);
  guest.since = now;
  guest.nonce = random_nonce();
  Letters letters{letter(connection, pack(Challenge{guest.nonce}))};
  guests_.emplace(connection, std::move(guest));
  return letters;
}

size_t Meetings::frame_bytes_max(uint64_t connection) const {
  const auto guest = guests_.find(connection);
  return guest != guests_.end() && guest->second.party ? kFrameBytesMax : kHelloBytesMax;
}

bool Meetings::pending() const {
  return std::any_of(parties_.begin(), parties_.end(), [](const auto& party) { return party->arbiter.pending(); });
}

Meetings::Letters Meetings::frame(uint64_t connection, FrameType type, std::string_view body, uint64_t now) {
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
    if (message && own_up(*message, guest.rank)) return this->message(guest, connection, std::move(*message), now);
  }
  return {{connection, nullptr, true, false}};  // garbage: out
}

// The generation that this rank belongs to; null: a new one. Or why it may not come in.
std::optional<Refused> Meetings::place_for(const Hello& hello, uint64_t now, std::shared_ptr<Party>& party) {
  const auto found = current_.find({hello.job, hello.name});
  if (found == current_.end()) return std::nullopt;
  const std::shared_ptr<Party>& there = found->second;
  const bool fits = there->ranks == hello.ranks;
  const Seat seat = hello.rank < there->ranks ? there->places[hello.rank].seat : Seat::kEmpty;
  if (there->judged()) {
    if (fits && seat == Seat::kEmpty && now - there->judged_at < kLateNs) party = there;
    return std::nullopt;
  }
  if (seat == Seat::kLeft) return std::nullopt;
  const std::string who = "rank " + std::to_string(hello.rank) + " of group \"" + hello.name + "\"";
  if (!fits) {
    return Refused{there->gone > 0, who + " gave ranks " + std::to_string(hello.ranks) +
                                        ", but those who came before gave " + std::to_string(there->ranks)};
  }
  if (seat == Seat::kHere) return Refused{true, who + " is already there: two processes gave the same rank"};
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
    return Refused{true, "rank " + std::to_string(hello.rank) + " of job \"" + hello.job +
                             "\" does not prove the job's secret (TRANSLOAD_SECRET, bootstrap.secret)"};
  return std::nullopt;
}

Meetings::Letters Meetings::hello(uint64_t connection, const Hello& hello, uint64_t now) {
  Guest& guest = guests_.at(connection);
  if (const std::optional<Refused> refused = stranger(guest, hello)) return {letter(connection, pack(*refused), true)};
  std::shared_ptr<Party> party;
  if (const std::optional<Refused> refused = place_for(hello, now, party))
    return {letter(connection, pack(*refused), true)};
  if (!party) {
    party = std::make_shared<Party>(hello);
    party->expires_at = now + hello.deadline_ms * kMillisecondNs;
    parties_.push_back(party);
    current_[{hello.job, hello.name}] = party;
  }
  guest.party = party;
  guest.its_nonce = hello.nonce;
  return seat(guest, connection, hello.rank, now);
}

Meetings::Letters Meetings::seat(Guest& guest, uint64_t connection, uint32_t rank, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  guest.rank = rank;
  Place& place = party.places[rank];
  place.seat = Seat::kHere;
  place.connection = connection;
  ++party.came;
  if (party.judged()) {
    letters.push_back(letter(connection, pack(Message(party.arbiter.verdict()))));
  } else if (party.full()) {
    party.arbiter.start(now);
    party.beat_at = now;
    welcome(party, letters);
  }
  return letters;
}

// Each in its own words, for each has asked for a proof.
void Meetings::welcome(const Party& party, Letters& letters) const {
  Welcome welcome{options_.in_rank_0, {}};
  for (const Place& place : party.places) {
    if (place.seat != Seat::kHere) continue;
    welcome.proof = proof(options_.secret, {Prover::kServer, guests_.at(place.connection).its_nonce, said_in(welcome)});
    letters.push_back(letter(place.connection, pack(welcome)));
  }
}

Meetings::Letters Meetings::gather(Guest& guest, Gather gather, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  Place& place = party.places[guest.rank];
  if (party.judged()) return letters;
  if (!party.full() || gather.round != place.rounds) return {{place.connection, nullptr, true, false}};
  ++place.rounds;
  Round& round = party.rounds[gather.round];
  if (round.count == 0) {
    round.parts.resize(party.ranks);
    round.expires_at = now + gather.deadline_ms * kMillisecondNs;
  }
  round.parts[guest.rank] = std::move(gather.mine);
  if (++round.count == party.ranks) give_round(party, gather.round, letters);
  return letters;
}

void Meetings::give_round(Party& party, uint32_t number, Letters& letters) {
  Round& round = party.rounds.at(number);
  Gathered some{number, 0, reach(party), {}};
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
  party.rounds.erase(number);
}

// The server's address on a connection that came from another host.
std::string Meetings::reach(const Party& party) const {
  for (const Place& place : party.places) {
    const auto guest = guests_.find(place.connection);
    if (guest != guests_.end() && guest->second.ends.remote) return guest->second.ends.server;
  }
  return {};
}

Meetings::Letters Meetings::message(Guest& guest, uint64_t connection, Message message, uint64_t now) {
  Letters letters;
  Party& party = *guest.party;
  if (std::holds_alternative<Goodbye>(message)) {
    Place& place = party.places[guest.rank];
    if (place.seat == Seat::kHere) ++party.gone;
    place.seat = Seat::kLeft;
    letters.push_back(letter(connection, pack_farewell(), true));
  }
  tell(party, party.arbiter.take(message, now), letters, now);
  return letters;
}

Meetings::Letters Meetings::closed(uint64_t connection, uint64_t now) {
  Letters letters;
  const auto found = guests_.find(connection);
  if (found == guests_.end()) return letters;
  const Guest guest = std::move(found->second);
  guests_.erase(found);
  if (!guest.party) return letters;
  Party& party = *guest.party;
  Place& place = party.places[guest.rank];
  if (place.seat == Seat::kHere) {
    place.seat = Seat::kLost;
    ++party.gone;
    tell(party, party.arbiter.take(Lost{guest.rank}, now), letters, now);
  }
  return letters;
}

// The lowest rank that somebody has waited for in vain.
std::optional<uint32_t> Meetings::missing(const Party& party, uint64_t now) const {
  if (!party.full()) {
    if (now < party.expires_at) return std::nullopt;
    uint32_t rank = 0;
    while (party.places[rank].seat != Seat::kEmpty) ++rank;
    return rank;
  }
  for (const auto& [number, round] : party.rounds) {
    for (uint32_t rank = 0; rank < party.ranks; ++rank) {
      if (round.parts[rank]) continue;
      if (now >= round.expires_at || party.places[rank].seat == Seat::kLeft) return rank;
    }
  }
  return std::nullopt;
}

void Meetings::tick_party(Party& party, uint64_t now, Letters& letters) {
  if (party.judged()) return;
  if (party.full()) tell(party, party.arbiter.tick(now), letters, now);
  if (const std::optional<uint32_t> rank = missing(party, now))
    tell(party, party.arbiter.take(Missing{*rank}, now), letters, now);
  if (party.full() && !party.judged() && now - party.beat_at >= kHeartbeatNs) {
    party.beat_at = now;
    to_all(party, pack(Message(Heartbeat{})), true, letters);
  }
}

Meetings::Letters Meetings::tick(uint64_t now) {
  Letters letters;
  const uint64_t gap = last_tick_ == 0 ? 0 : now - last_tick_;
  last_tick_ = now;
  for (const auto& party : parties_) {
    if (gap >= kSilenceNs) {  // this process was stopped: the time was nobody's fault
      party->expires_at += gap;
      for (auto& [number, round] : party->rounds) round.expires_at += gap;
    }
    tick_party(*party, now, letters);
  }
  for (const auto& [connection, guest] : guests_) {
    if (!guest.party && now - guest.since >= kHelloNs) letters.push_back({connection, nullptr, true, false});
  }
  const auto over = [&](const std::shared_ptr<Party>& party) {
    if (party->gone < party->came) return false;
    return !party->judged() || now - party->judged_at >= kLateNs;
  };
  for (auto at = current_.begin(); at != current_.end();) at = over(at->second) ? current_.erase(at) : std::next(at);
  parties_.erase(std::remove_if(parties_.begin(), parties_.end(), over), parties_.end());
  return letters;
}

void Meetings::tell(Party& party, const std::vector<Message>& messages, Letters& letters, uint64_t now) {
  for (const Message& message : messages) to_all(party, pack(message), false, letters);
  if (party.judged() && party.judged_at == 0) {
    party.judged_at = now;
    party.rounds.clear();
  }
}

void Meetings::to_all(const Party& party, std::string frame, bool droppable, Letters& letters) const {
  const auto shared = std::make_shared<const std::string>(std::move(frame));
  for (const Place& place : party.places) {
    if (place.seat == Seat::kHere) letters.push_back({place.connection, shared, false, droppable});
  }
}

}  // namespace transload
