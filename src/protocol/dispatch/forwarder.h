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
#include "protocol/dispatch/sender.h"

namespace transload {

// What the counts announced of a source in a channel: these tokens of that rank.
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
  typename W::template Table<Word> entry;  // of the log: next, and end, by source slot
  typename W::template Table<Word> last;
  typename W::template Table<Word> seen;  // of the word that a source's gate is on
  typename W::template Table<int> gate;   // the ring that a source waits for; kTokens: its next token
  typename W::template Table<Announced> announced;
};
constexpr int kGateTokens = -1;

TRANSLOAD_HD constexpr uint64_t dispatch_forwarder_tables_bytes(const RankMap& map) {
  const uint64_t sources = map.sources();
  return inbox_bytes<RailLink>(sources) + outbox_bytes<PeerLink>(uint64_t(map.peers) * kDispatchStreams) +
         3 * table_bytes<Word>(sources) + table_bytes<int>(sources) + table_bytes<Announced>(sources) +
         grants_bytes(map);
}

TRANSLOAD_HD int forwarder_ring(uint32_t peer) { return int(peer * kDispatchStreams + kFromForwarder); }

// What the slot of a token says: its header, and its owners among my peers, which are the log's when cached.
template <Warp W>
struct Heading {
  Header header;
  typename W::template Per<Route> route;
};
template <Warp W>
TRANSLOAD_WARP Heading<W> read_heading(W& w, const DispatchTrip& t, const char* slot, uint64_t entry) {
  const RankMap& map = t.call.board->map;
  const Header* const header = header_at(slot + t.shape.header_offset());
  const Header head = w.peek(header);
  if (!t.shape.listed)
    return {head, w.template per<Route>(Set::first(int(t.log_width)),
                                        [&](Lane l) { return t.handle.log[entry * t.log_width + uint32_t(l.i)]; })};
  return {head, w.template per<Route>(Set::first(int(t.shape.top_k)), [&](Lane l) {
            const HeaderEntry e = w.peek(&header->entries()[l]);
            if (uint32_t(l.i) >= head.owner_count || e.owner >= map.ranks || !map.is_mate(e.owner))
              return Route{kNoRoute, 0};
            return Route{map.peer_of(e.owner), e.ordinal};
          })};
}

// Keeps what combine needs of a token: its owners, side by side from the first place on.
template <Warp W>
TRANSLOAD_WARP void write_log(W& w, const DispatchTrip& t, const typename W::template Per<Route>& route, Set owners,
                              uint64_t entry) {
  const int count = owners.count();
  w.each(owners, [&](Lane l) {
    const int place = (owners & Set::first(l)).count();
    t.made.log[entry * t.log_width + uint32_t(place)] = route[l];
  });
  w.each(Set::first(int(t.log_width)) - Set::first(count), [&](Lane l) {
    t.made.log[entry * t.log_width + l] = {kNoRoute, 0};
  });
}

// True if the header is of the source and the channel that the counts announced.
template <Warp W>
TRANSLOAD_WARP bool header_fits(W& w, const Header& header, const Announced& of) {
  const bool fits = header.source == of.rank && header.token >= of.begin && header.token < of.end;
  if (!fits) w.broken(Broken::kHeader, of.rank, header.token, of.begin);
  return fits;
}

// The token at the head of a source. Lives as long as the heading it refers to.
template <Warp W>
struct NextToken {
  const Heading<W>& heading;
  int source;
};

// Moves a token on; false if an owner's ring has no slot, and then the gate is on that ring.
template <Warp W>
TRANSLOAD_WARP bool forward_token(W& w, const DispatchTrip& t, const Grants<W>& grants, Forwarding<W>& f,
                                  NextToken<W> token) {
  const int source = token.source;
  const uint32_t slot_index = uint32_t(source);
  const char* slot = f.in.first(source);
  const uint64_t entry = w.pick(f.entry, source);
  const auto& route = token.heading.route;
  const Set all = Set::first(int(t.shape.listed ? t.shape.top_k : t.log_width));
  const Set owners = w.where(all, [&](Lane l) { return route[l].target != kNoRoute; });
  const auto row = w.template per<Word>(
      owners, [&](Lane l) { return grants.row(int(route[l].target), slot_index, route[l].ordinal); });
  const Set keepers = w.where(owners, [&](Lane l) { return grants.keeps(int(route[l].target), row[l]); });
  const Set ringed = grants.all_reachable()
                         ? Set{}
                         : w.where(keepers, [&](Lane l) { return !grants.reachable(int(route[l].target)); });
  auto ring = [&](Lane l) { return forwarder_ring(route[l].target); };
  const Set unsure = w.where(ringed, [&](Lane l) { return !f.rings.credited(ring(l)); });
  if (!unsure.empty()) {
    auto seen = w.template per<Word>(unsure, [&](Lane l) { return f.rings.credited_seen(ring(l)); });
    auto need = [&](Lane l) { return f.rings.credit_need(ring(l)); };
    const bool blocks = planted<typename W::Plants>(Canary::kBlocksOnOne);
    const Set free = blocks ? w.wait_all(unsure, need, seen) : w.poll(unsure, need, seen);
    w.each(unsure, [&](Lane l) { f.rings.credited_seen(ring(l)) = seen[l]; });
    const Set full = unsure - free;
    if (!full.empty()) {
      reached<typename W::Plants>(Situation::kForwarderBlocked);
      w.turns(Set{full.bits & (0 - full.bits)}, [&](int l) {
        const int m = forwarder_ring(w.pick(route, l).target);
        w.each(W::Members::only(source), [&](Lane s) { f.gate[s] = m, f.seen[s] = f.rings.credited_seen(m); });
      });
      return false;
    }
  }
  if (planted<typename W::Plants>(Canary::kCreditEarly))
    w.credit(W::Members::only(source), [&](Lane s) { return one_more(f.in.mark(s)); });
  w.scatter(parts_in(t, slot), keepers, [&](Lane l) -> Destination {
    if (ringed.has(l)) return slot_at(t, f.rings.next(ring(l)), false);
    return final_place(t, grants, route[l], row[l]);
  });
  if (t.shape.listed) {
    w.once([&] { t.made.log_token[entry] = token.heading.header.token; });
    write_log(w, t, route, owners, entry);
  }
  if (!ringed.empty()) {
    w.each(ringed, [&](Lane l) { f.rings.advance(ring(l)); });
    w.publish(ringed, [&](Lane l) { return f.rings.mark(ring(l)); });
  }
  w.each(W::Members::only(source), [&](Lane s) { f.in.advance(s), ++f.entry[s]; });
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
    if (!header_fits(w, come.header, f.announced[source])) return;
    if (!forward_token(w, t, grants, f, NextToken<W>{come, source})) return;
    come = next;
  }
}

template <Warp W>
TRANSLOAD_WARP void forward_channel(W& w, const DispatchTrip& t, const Grants<W>& grants, Forwarding<W>& f,
                                    uint32_t channel) {
  const typename W::Members sources = present(w, t.call.board->sources, t.call.board->map.sources());
  w.each(sources, [&](Lane s) {
    f.entry[s] = t.forward.at(uint32_t(s.i), channel);
    f.last[s] = t.forward.at(uint32_t(s.i), channel + 1);
    f.seen[s] = f.in.seen(s);
    f.gate[s] = kGateTokens;
    f.announced[s] = announced(t, uint32_t(s.i), channel);
  });
  for (;;) {
    const typename W::Members live = w.where(sources, [&](Lane s) { return f.entry[s] < f.last[s]; });
    if (live.empty() || w.failed()) return;
    const typename W::Members ready = w.wait_any(
        live, [&](Lane s) { return f.gate[s] == kGateTokens ? f.in.need(s) : f.rings.credit_need(f.gate[s]); }, f.seen);
    w.turns(ready, [&](int s) {
      w.each(W::Members::only(s), [&](Lane m) {
        Word& known = f.gate[m] == kGateTokens ? f.in.seen(m) : f.rings.credited_seen(f.gate[m]);
        known = f.seen[m] > known ? f.seen[m] : known;
        f.gate[m] = kGateTokens;
      });
      forward_source(w, t, grants, f, s);
      w.each(W::Members::only(s), [&](Lane m) {
        if (f.gate[m] == kGateTokens) f.seen[m] = f.in.seen(m);
      });
    });
  }
}

template <Warp W>
TRANSLOAD_WARP void run_dispatch_forwarder(W& w, const DispatchTrip& t) {
  w.enter(Role::kForwarder, -1);
  Claims<W> claims(w, t.call, Role::kForwarder);
  const int sources = int(t.call.board->map.sources());
  auto zero = [](Lane) { return Word(0); };
  Forwarding<W> f{{w, t.from_sources<W>()},
                  {w, t.peers<W>()},
                  w.template table<Word>(sources, zero),
                  w.template table<Word>(sources, zero),
                  w.template table<Word>(sources, zero),
                  w.template table<int>(sources, [](Lane) { return kGateTokens; }),
                  w.template table<Announced>(sources, [](Lane) { return Announced{}; })};
  const typename W::Members all = present(w, t.call.board->sources, t.call.board->map.sources());
  const Grants<W> grants(w, t.call);
  const typename W::Members my_rings = members_filled_by(w, t, grants, kFromForwarder);
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
