// DISPATCH FORWARDER: tokens from other nodes to their owners among my peers.
//
//   reads    the rings of the ranks whose rail I am, each filled by that rank's SENDER
//   writes   final rows and scales of peers whose landing is direct; dispatch rings of the other peers; the log, which
//            combine and cached dispatches read
//   runs as  any number of warps, which claim channels
//   ends     when all that the counts announced for the channel is forwarded
//
// It serves several sources, so it only ever waits until any of them can move: each source's gate is either its next
// token, or a free slot at one owner of that token.
#pragma once
#include "protocol/call/cards.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/dispatch/sender.h"

namespace transload {

// What counts announced for a channel: tokens [begin, end) of rank `rank`.
struct Announced {
  uint32_t rank;
  uint64_t begin, end;
};
TRANSLOAD_HD Announced announced(const DispatchTrip& t, uint32_t source, uint32_t channel) {
  const Cut cut{t.handle.slot_tokens[source], t.call.channels()};
  return {t.call.board->sources[source].rank, cut.begin(channel), cut.end(channel)};
}

template <Warp W>
struct Forwarding {
  Inbox<W, RailLink> in;
  Outbox<W, PeerLink> rings;
  // These tables have an entry for each source slot.
  TableOf<W, Word> entry;  // the next entry of the log
  TableOf<W, Word> last;   // where the source's entries of the channel end
  TableOf<W, Word> seen;   // what was read of the word that the source's gate is on
  TableOf<W, int> gate;    // the ring that the source waits for; kGateTokens: its next token
  TableOf<W, Announced> announced;
};
constexpr int kGateTokens = -1;

TRANSLOAD_HD constexpr uint64_t dispatch_forwarder_tables_bytes(const RankMap& map) {
  const uint64_t sources = map.sources();
  return inbox_bytes<RailLink>(sources) + outbox_bytes<PeerLink>(uint64_t(map.peers) * kDispatchStreams) +
         3 * table_bytes<Word>(sources) + table_bytes<int>(sources) + table_bytes<Announced>(sources) +
         grants_bytes(map);
}

TRANSLOAD_HD int forwarder_ring(uint32_t peer) { return int(peer * kDispatchStreams + kFromForwarder); }

// What is known of the token in a slot: its header, and its owners among my peers, from the header or, in a cached
// call, from the log.
template <Warp W>
struct Heading {
  Header header;
  PerOf<W, Route> route;
};
constexpr uint32_t kWrongRoute = kNoRoute - 1;  // the route of an owner that no valid header names in this entry
template <Warp W>
TRANSLOAD_WARP Heading<W> read_heading(W& w, const DispatchTrip& t, const char* slot, uint64_t entry) {
  const RankMap& map = t.map();
  const Header* const header = header_at(slot + t.shape.header_offset());
  const Header head = w.peek(header);
  if (!t.shape.listed)
    return {head, per<Route>(w, Set::first(int(t.log_width)),
                             [&](Lane l) { return t.handle.log[entry * t.log_width + uint32_t(l.i)]; })};
  // Owners must ascend: one that is named twice would take two places of the log and two slots of one ring.
  return {head, per<Route>(w, Set::first(int(t.shape.top_k)), [&](Lane l) {
            const HeaderEntry e = w.peek(&header->entries()[l]);
            const uint32_t before = l.i == 0 ? kNobody : w.peek(&header->entries()[l.i - 1].owner);
            if (uint32_t(l.i) >= head.owner_count) return Route{kNoRoute, 0};
            if (e.owner >= map.ranks || e.owner < before + 1) return Route{kWrongRoute, 0};
            return map.is_peer(e.owner) ? Route{map.peer_of(e.owner), e.ordinal} : Route{kNoRoute, 0};
          })};
}

// Keeps what combine needs of a token: its owners, side by side from the first place on.
template <Warp W>
TRANSLOAD_WARP void write_log(W& w, const DispatchTrip& t, const PerOf<W, Route>& route, Set owners, uint64_t entry) {
  const int count = owners.count();
  w.each(owners, [&](Lane l) {
    const int place = (owners & Set::first(l)).count();
    t.made.log[entry * t.log_width + uint32_t(place)] = route[l];
  });
  w.each(Set::first(int(t.log_width)) - Set::first(count), [&](Lane l) {
    t.made.log[entry * t.log_width + l] = {kNoRoute, 0};
  });
}

// A header that cannot be is its sender's fault, unless the sender is in another call, which its card tells. On a GPU
// this warp does not look at the card: only the opener compares cards there.
template <Warp W>
TRANSLOAD_WARP void accuse_source(W& w, const DispatchTrip& t, const Header& header, const Announced& of) {
  if constexpr (W::kChecksGrants) {
    w.turns(w.where(sources_of(w, t.call), [&](Lane s) { return t.call.board->sources[s].rank == of.rank; }),
            [&](int slot) { check_card_of_source(w, t.call, slot); });
    if (w.failed()) return;
  }
  w.broken(Broken::kHeader, of.rank, header.token, of.begin);
}

// True if the header is of the source and the channel that the counts announced, and its owners can be.
template <Warp W>
TRANSLOAD_WARP bool header_fits(W& w, const DispatchTrip& t, const Heading<W>& heading, const Announced& of) {
  const Header& header = heading.header;
  const bool expected = header.source == of.rank && header.token >= of.begin && header.token < of.end;
  const Set owners = Set::first(t.shape.listed ? int(t.shape.top_k) : 0);
  const Set wrong = w.where(owners, [&](Lane l) { return heading.route[l].target == kWrongRoute; });
  const bool fits = expected && wrong.empty() && (!t.shape.listed || header.owner_count <= t.shape.top_k);
  if (!fits) accuse_source(w, t, header, of);
  return fits;
}

// The next token of a source, at the head of its ring. It refers to a heading, which must outlive it.
template <Warp W>
struct NextToken {
  const Heading<W>& heading;
  int source;
};

// True if the rings of all these owners have a free slot. Else the gate of the token's source is set to the first ring
// that has none. It never waits, because the warp serves other sources.
template <Warp W>
TRANSLOAD_WARP bool owners_have_room(W& w, Forwarding<W>& f, NextToken<W> token, Set ringed) {
  const auto& route = token.heading.route;
  auto ring = [&](Lane l) { return forwarder_ring(route[l].target); };
  const Set unsure = w.where(ringed, [&](Lane l) { return !f.rings.credited(ring(l)); });
  if (unsure.empty()) return true;
  auto seen = per<Word>(w, unsure, [&](Lane l) { return f.rings.credited_seen(ring(l)); });
  auto need = [&](Lane l) { return f.rings.credit_need(ring(l)); };
  const Set full = unsure - w.poll(unsure, need, seen);
  w.each(unsure, [&](Lane l) { f.rings.credited_seen(ring(l)) = seen[l]; });
  if (full.empty()) return true;
  reached<PlantsOf<W>>(Situation::kForwarderBlocked);
  w.turns(Set{full.bits & (0 - full.bits)}, [&](int l) {
    const int m = forwarder_ring(w.pick(route, l).target);
    w.each(W::Members::only(token.source), [&](Lane s) {
      f.gate[s] = m;
      f.seen[s] = f.rings.credited_seen(m);
    });
  });
  return false;
}

// Moves the token on to its owners. False if the ring of one of them has no free slot.
template <Warp W>
TRANSLOAD_WARP bool forward_token(W& w, const DispatchTrip& t, const Grants<W>& grants, Forwarding<W>& f,
                                  NextToken<W> token) {
  const int source = token.source;
  const uint32_t slot_index = uint32_t(source);
  const char* slot = f.in.first(source);
  const uint64_t entry = w.pick(f.entry, source);
  const auto& route = token.heading.route;

  // The token goes to those of its owners among my peers that have room for its row.
  const Set all = Set::first(int(t.shape.listed ? t.shape.top_k : t.log_width));
  const Set owners = w.where(all, [&](Lane l) { return route[l].target != kNoRoute; });
  const auto row =
      per<Word>(w, owners, [&](Lane l) { return grants.row(int(route[l].target), slot_index, route[l].ordinal); });
  const Set keepers = w.where(owners, [&](Lane l) { return grants.keeps(int(route[l].target), row[l]); });
  const Set ringed = grants.all_reachable()
                         ? Set{}
                         : w.where(keepers, [&](Lane l) { return !grants.reachable(int(route[l].target)); });
  if (!owners_have_room(w, f, token, ringed)) return false;

  // Moves the token: one load, and a store to each owner.
  auto ring = [&](Lane l) { return forwarder_ring(route[l].target); };
  w.scatter(pieces_in(t, slot), keepers, [&](Lane l) -> Destination {
    if (ringed.has(l)) return slot_at(t, f.rings.next(ring(l)), false);
    return final_place(t, grants, route[l], row[l]);
  });

  // Logs the token for combines and cached dispatches, with all owners, also those without room.
  if (t.shape.listed) {
    w.once([&] { t.made.log_token[entry] = token.heading.header.token; });
    write_log(w, t, route, owners, entry);
  }

  // Shows the new counts to owners that read rings, and gives the slot back to the source.
  if (!ringed.empty()) {
    w.each(ringed, [&](Lane l) { f.rings.advance(ring(l)); });
    w.publish(ringed, [&](Lane l) { return f.rings.mark(ring(l)); });
  }
  w.each(W::Members::only(source), [&](Lane s) {
    f.in.advance(s);
    ++f.entry[s];
  });
  w.credit(W::Members::only(source), [&](Lane s) { return f.in.mark(s); });
  return true;
}

// Forwards all that has come from a source, until a ring is full. Headers are read one token ahead: loads take long.
template <Warp W>
TRANSLOAD_WARP void forward_source(W& w, const DispatchTrip& t, const Grants<W>& grants, Forwarding<W>& f, int source) {
  const uint64_t first = w.pick(f.entry, source), last = w.pick(f.last, source), waiting = f.in.waiting(source);
  const uint64_t end = last - first < waiting ? last : first + waiting;
  if (first == end) return;
  auto come = read_heading(w, t, f.in.first(source), first);
  for (uint64_t entry = first; entry < end && !w.failed(); ++entry) {
    const bool more = entry + 1 < end;
    const auto next = read_heading(w, t, more ? f.in.second(source) : f.in.first(source), more ? entry + 1 : entry);
    if (!header_fits(w, t, come, f.announced[source])) return;
    if (!forward_token(w, t, grants, f, NextToken<W>{come, source})) return;
    come = next;
  }
}

// True if the log has room for what the counts announced. On a CPU the host has checked the counts before it made the
// log; on a GPU nobody has.
template <Warp W>
TRANSLOAD_WARP bool log_has_room(W& w, const DispatchTrip& t, const Forwarding<W>& f, const MembersOf<W>& sources) {
  const MembersOf<W> beyond = w.where(sources, [&](Lane s) { return f.last[s] > t.log_entries; });
  w.turns(beyond, [&](int s) { w.broken(Broken::kCounts, f.announced[s].rank, f.last[s], t.log_entries); });
  return beyond.empty();
}

template <Warp W>
TRANSLOAD_WARP void forward_channel(W& w, const DispatchTrip& t, const Grants<W>& grants, Forwarding<W>& f,
                                    uint32_t channel) {
  const MembersOf<W> sources = sources_of(w, t.call);
  // Each source brings what the counts announced; its gate is its next token.
  w.each(sources, [&](Lane s) {
    f.entry[s] = t.forward.at(uint32_t(s.i), channel);
    f.last[s] = t.forward.at(uint32_t(s.i), channel + 1);
    f.seen[s] = f.in.seen(s);
    f.gate[s] = kGateTokens;
    f.announced[s] = announced(t, uint32_t(s.i), channel);
  });
  if (!log_has_room(w, t, f, sources)) return;
  for (;;) {
    const MembersOf<W> live = w.where(sources, [&](Lane s) { return f.entry[s] < f.last[s]; });
    if (live.empty() || w.failed()) return;
    const MembersOf<W> ready = w.wait_any(
        live, [&](Lane s) { return f.gate[s] == kGateTokens ? f.in.need(s) : f.rings.credit_need(f.gate[s]); }, f.seen);
    w.turns(ready, [&](int s) {
      w.each(W::Members::only(s), [&](Lane m) {
        learn(f.gate[m] == kGateTokens ? f.in.seen(m) : f.rings.credited_seen(f.gate[m]), f.seen[m]);
        f.gate[m] = kGateTokens;
      });
      forward_source(w, t, grants, f, s);
      // Unless a full ring is the gate now, the wait goes on from what is known of the source.
      w.each(W::Members::only(s), [&](Lane m) {
        if (f.gate[m] == kGateTokens) f.seen[m] = f.in.seen(m);
      });
    });
  }
}

template <Warp W>
TRANSLOAD_WARP void run_dispatch_forwarder(W& w, const DispatchTrip& t) {
  w.enter(Role::kForwarder, -1);
  // Slow loads, of claims and tables, start before the first wait, which is for the grants.
  Claims<W> claims(w, t.call, Role::kForwarder);
  const int sources = int(t.map().sources());
  Forwarding<W> f{.in = {w, t.from_sources()},
                  .rings = {w, t.peers()},
                  .entry = zeros<Word>(w, sources),
                  .last = zeros<Word>(w, sources),
                  .seen = zeros<Word>(w, sources),
                  .gate = table<int>(w, sources, [](Lane) { return kGateTokens; }),
                  .announced = table<Announced>(w, sources, [](Lane) { return Announced{}; })};
  const MembersOf<W> all = sources_of(w, t.call);
  const Grants<W> grants(w, t.call);
  const MembersOf<W> my_rings = members_filled_by(w, t, grants, kFromForwarder);
  each_share(w, claims, Role::kForwarder, t.call.channels(), [&](uint32_t channel) {
    f.in.begin(w, channel, all);
    f.rings.begin(w, channel, my_rings);
    forward_channel(w, t, grants, f, channel);
    f.in.keep(w, all);
    f.rings.keep(w, my_rings);
  });
  leave(w, t.call);
}

}  // namespace transload
