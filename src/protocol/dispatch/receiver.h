// DISPATCH RECEIVER: the end of a token's way to its expert.
//
//   reads    landing ring: the dispatch rings that peers' SENDERs and FORWARDERs fill
//            landing direct: on a first dispatch, the headers that landed beside my rows
//   writes   landing ring: rows and scales; on a first dispatch, local expert ids, weights and sources
//   runs as  any number of warps, which claim channels
//   ends     landing ring: when all that the counts announced for the channel is taken
//            landing direct: on a first dispatch, when all peers are done and the headers of the channel are unpacked;
//            when cached, at once
//
// With a landing by ring it waits for nothing but tokens, so rings always drain.
#pragma once
#include "base/situations.h"
#include "protocol/call/claims.h"
#include "protocol/call/close.h"
#include "protocol/dispatch/trip.h"

namespace transload {

// A choice of a token, as the rank that gets its row sees it.
struct Choice {
  int32_t expert;  // local id of the expert, or -1
  float weight;
};
TRANSLOAD_HD Choice choice_of(const DispatchTrip& t, const HeaderEntry& e) {
  const uint32_t me = t.map().me;
  const bool known = e.expert >= 0 && uint32_t(e.expert) < t.experts.experts;
  const uint32_t expert = known ? uint32_t(e.expert) : 0;
  // Both loads are started at once, whoever owns the expert.
  const uint32_t owner = t.experts.owner[expert], place = t.experts.place[expert];
  const bool mine = known && owner == me;
  return mine ? Choice{int32_t(place - t.experts.rank_begin[me]), e.weight} : Choice{-1, 0.0f};
}

struct Numbers {
  uint32_t first, end;
};
// Choices of consecutive rows are numbered through. This lane unpacks kCount of them, fewer at the end: first,
// first + kSetMax, .. Loading headers takes long, so all of them are asked for before any is used.
template <int kCount, Warp W>
TRANSLOAD_WARP void unpack_choices(W& w, const DispatchTrip& t, const char* headers, uint64_t row, Numbers numbers) {
  HeaderEntry entries[kCount];
  Choice choices[kCount];
  auto each = [&](auto body) {
    for (int i = 0; i < kCount; ++i)
      if (const uint32_t n = numbers.first + uint32_t(i) * kSetMax; n < numbers.end) body(i, n);
  };
  auto header = [&](uint32_t n) { return header_at(headers + n / t.shape.top_k * t.shape.header_bytes()); };
  each([&](int i, uint32_t n) { entries[i] = w.peek(&header(n)->entries()[n % t.shape.top_k]); });
  each([&](int i, uint32_t) { choices[i] = choice_of(t, entries[i]); });
  each([&](int i, uint32_t n) {
    const uint64_t at = row * t.shape.top_k + n;
    if (t.wide_idx != nullptr)
      t.wide_idx[at] = choices[i].expert;
    else
      t.topk_idx[at] = choices[i].expert;
    t.topk_weights[at] = choices[i].weight;
  });
}

TRANSLOAD_WARP void write_source(const DispatchTrip& t, const Header& head, uint64_t row) {
  t.source[row * 2] = int32_t(head.source);
  t.source[row * 2 + 1] = int32_t(head.token);
  t.made.row_token[row] = head.token;
}

// Unpacks the headers of consecutive rows into the caller's ids, weights and sources. Neighbouring lanes take
// neighbouring choices.
template <Warp W>
TRANSLOAD_WARP void unpack_rows(W& w, const DispatchTrip& t, const char* headers, uint64_t row, int count) {
  constexpr int kAtOnce = 8;
  const uint32_t choices = uint32_t(count) * t.shape.top_k;
  w.each(Set::first(kSetMax), [&](Lane l) {
    Header head{};
    if (l < count) head = w.peek(header_at(headers + l * t.shape.header_bytes()));
    for (uint32_t first = uint32_t(l.i); first < choices; first += kSetMax * kAtOnce)
      unpack_choices<kAtOnce>(w, t, headers, row, {first, choices});
    if (l < count) write_source(t, head, row + uint32_t(l.i));
  });
}

// The row of a token among mine, or kNoRow. It is its source's base plus its ordinal for me, from the header. A cached
// token has no list, so its row is searched among the tokens of my rows, which ascend within a source.
constexpr uint64_t kNoRow = ~uint64_t(0);
template <Warp W>
TRANSLOAD_WARP uint64_t final_row(W& w, const DispatchTrip& t, const Header* header) {
  const uint32_t me = t.map().me, source = w.peek(&header->source);
  if (source >= t.map().ranks) return kNoRow;
  uint64_t begin = t.kept(t.handle.row_base[source]);
  const uint64_t first = t.handle.row_base[source], last = t.kept(t.handle.row_base[source + 1]);
  uint64_t end = last;
  if (t.shape.listed) {
    const uint32_t owners = w.peek(&header->owner_count);
    if (owners > t.shape.top_k) return kNoRow;
    const Set mine =
        w.where(Set::first(int(owners)), [&](Lane l) { return w.peek(&header->entries()[l].owner) == me; });
    uint64_t row = kNoRow;
    w.turns(mine, [&](int l) { row = first + w.peek(&header->entries()[l].ordinal); });
    return row < last ? row : kNoRow;
  }
  const uint32_t token = w.peek(&header->token);
  while (begin < end) {
    const uint64_t middle = (begin + end) / 2;
    if (t.handle.row_token[middle] < token)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin < last && t.handle.row_token[begin] == token ? begin : kNoRow;
}

template <Warp W>
struct Receiving {
  Inbox<W, PeerLink> in;
  TableOf<W, Word> left;  // tokens that have still to come, by member
  TableOf<W, Word> seen;
};

// The bytes of the tables that a landing by ring needs; a direct one only waits for peers.
TRANSLOAD_HD constexpr uint64_t dispatch_receiver_tables_bytes(const RankMap& map) {
  const uint64_t streams = uint64_t(map.peers) * kDispatchStreams;
  return inbox_bytes<PeerLink>(streams) + 2 * table_bytes<Word>(streams);
}

template <Warp W>
TRANSLOAD_WARP bool receive_token(W& w, const DispatchTrip& t, Receiving<W>& r, int member) {
  const char* slot = r.in.first(member);
  const Header* const header = header_at(slot + t.shape.header_offset());
  const uint64_t row = final_row(w, t, header);
  if (row == kNoRow) {
    w.broken(Broken::kHeader, t.map().peer_rank(uint32_t(member) / kDispatchStreams), w.peek(&header->token), 0);
    return false;
  }
  // Row and scales go to their final places, what the header says goes to the columns of the output, and the slot is
  // given back.
  w.scatter(pieces_in(t, slot), Set::only(0), [&](Lane) -> Destination {
    return {t.rows + row * t.shape.row_bytes, nullptr, false, t.scales + row * t.shape.scale_bytes()};
  });
  if (t.shape.listed) unpack_rows(w, t, slot + t.shape.header_offset(), row, 1);
  w.each(W::Members::only(member), [&](Lane m) {
    r.in.advance(m);
    --r.left[m];
  });
  w.credit(W::Members::only(member), [&](Lane m) { return r.in.mark(m); });
  return true;
}

// Notes how many tokens each stream of each peer brings on a channel. The sender's stream brings the peer's own tokens,
// the forwarder's those of the ranks whose rail the peer is.
template <Warp W>
TRANSLOAD_WARP void expect(W& w, const DispatchTrip& t, Receiving<W>& r, uint32_t channel) {
  const RankMap& map = t.map();
  w.each(W::Members::first(int(map.peers * kDispatchStreams)), [&](Lane m) {
    const uint32_t p = uint32_t(m.i) / kDispatchStreams;
    Word left = 0;
    if (m % kDispatchStreams == kFromSender)
      left = t.rows_coming(map.peer_rank(p), channel);
    else
      for (uint32_t s = 0; s < map.ranks; ++s)
        if (!map.is_peer(s) && map.bringer(s) == p) left += t.rows_coming(s, channel);
    r.left[m] = left;
    r.seen[m] = r.in.seen(m);
  });
}

template <Warp W>
TRANSLOAD_WARP void receive_channel(W& w, const DispatchTrip& t, Receiving<W>& r) {
  const MembersOf<W> members = W::Members::first(int(t.map().peers * kDispatchStreams));
  for (;;) {
    const MembersOf<W> live = w.where(members, [&](Lane m) { return r.left[m] > 0; });
    if (live.empty() || w.failed()) return;
    const MembersOf<W> ready = w.wait_any(
        live, [&](Lane m) { return r.in.need(m); }, r.seen);
    // Takes all that has come of each stream, as far as it was announced.
    w.turns(ready, [&](int m) {
      w.each(W::Members::only(m), [&](Lane l) { r.in.seen(l) = r.seen[l]; });
      while (w.pick(r.left, m) > 0 && r.in.arrived(m) && !w.failed())
        if (!receive_token(w, t, r, m)) return;
    });
  }
}

// Where the landing is direct, rows and scales are in their places, and headers are still to be unpacked: one share of
// them for each channel.
template <Warp W>
TRANSLOAD_WARP void unpack_share(W& w, const DispatchTrip& t, const Cut& cut, uint32_t share) {
  const uint64_t end = cut.end(share);
  for (uint64_t row = cut.begin(share); row < end; row += kSetMax)
    unpack_rows(w, t, t.row_headers + row * t.shape.header_bytes(), row,
                end - row < kSetMax ? int(end - row) : kSetMax);
}

template <Warp W>
TRANSLOAD_WARP void run_dispatch_receiver(W& w, const DispatchTrip& t) {
  w.enter(Role::kReceiver, -1);
  if (t.direct) reached<PlantsOf<W>>(Situation::kLandingDirect);
  if (t.direct && !t.shape.listed) return;  // peers store rows and scales in place, and the closer waits for them
  Claims<W> claims(w, t.call, Role::kReceiver);
  if (t.direct) {
    // All headers have landed once all peers are done; then warps share them out.
    const Cut cut{t.rows_kept(), t.call.channels()};
    wait_for_peers(w, t.call);
    if (w.failed()) return;
    return each_share(w, claims, Role::kReceiver, cut.channels, [&](uint32_t share) {
      claims.ahead();
      unpack_share(w, t, cut, share);
    });
  }
  reached<PlantsOf<W>>(Situation::kLandingRing);
  const int members = int(t.map().peers * kDispatchStreams);
  Receiving<W> r{{w, t.peers()}, zeros<Word>(w, members), zeros<Word>(w, members)};
  each_share(w, claims, Role::kReceiver, t.call.channels(), [&](uint32_t channel) {
    r.in.begin(w, channel, W::Members::first(members));
    expect(w, t, r, channel);
    receive_channel(w, t, r);
    r.in.keep(w, W::Members::first(members));
  });
  w.settle();
}

}  // namespace transload
