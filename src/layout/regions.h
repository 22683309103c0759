// Where every shared byte lies. One list gives size and offset; geometry is fixed when the group is made.
//
// The network region is symmetric: it has the same offsets on every rank, and what goes out (send) lies apart from what
// comes in (recv). The scale-up region is asymmetric: many peers write, one rank owns it, and each peer has its place.
//
// Unless a line says otherwise, an entry is written by the rank of its last index, and read by the owner of the region;
// words only grow, by publish() after what they speak of.
#pragma once
#include <cstdint>

#include "base/check.h"
#include "base/macros.h"
#include "base/math.h"
#include "base/word.h"
#include "layout/counts.h"
#include "layout/cursor.h"

namespace transload {

// Version of all that ranks write for each other: regions, cards, grants, counts, tokens. Raise it with any change of
// these: ranks of one group must have the same.
constexpr uint32_t kLayoutVersion = 2;

constexpr uint64_t kSlotAlign = 128;  // slots are multiples of a pair of cache lines

struct Geometry {
  uint32_t ranks, nodes, fold, node_size_max;
  uint32_t peers;  // ranks of my node: differs between nodes, never between peers
  uint32_t channels, slots;
  uint32_t experts_of_rank_max;
  uint64_t token_bytes;       // length of the largest dispatched token
  uint64_t sum_bytes;         // length of the largest partial sum or combined row, weights included
  uint32_t peer_slots = 0;    // slots of rings between peers; 0: as many as along rails
  bool mapped_rails = false;  // all rails are mapped: nothing is staged, so there are no send halves

  TRANSLOAD_HD constexpr uint32_t slots_between_peers() const { return peer_slots == 0 ? slots : peer_slots; }

  TRANSLOAD_HD uint32_t sources() const { return nodes * fold; }
  TRANSLOAD_HD uint64_t token_stride() const { return round_up(token_bytes, kSlotAlign); }
  TRANSLOAD_HD uint64_t sum_stride() const { return round_up(sum_bytes, kSlotAlign); }
  // The shape of the records of counts: layout/counts.h.
  TRANSLOAD_HD CountsShape counts() const { return {channels, experts_of_rank_max}; }
  TRANSLOAD_HD uint64_t counts_bytes() const { return counts().rank_bytes(); }
  TRANSLOAD_HD uint64_t node_counts_bytes() const { return counts().node_bytes(node_size_max); }
};

// An array of up to four dimensions at a fixed offset; the last index may be left out (0).
struct Block {
  uint64_t offset, unit;
  uint32_t n1, n2, n3, n0;

  TRANSLOAD_HD uint64_t at(uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) const {
    TRANSLOAD_CHECK(a < n0 && b < n1 && c < n2 && d < n3);
    return offset + (((a * n1 + b) * n2 + c) * n3 + d) * unit;
  }
};

struct Extent {
  uint64_t unit;
  uint32_t n0, n1 = 1, n2 = 1, n3 = 1;
};

// Takes room for a Block. A region that is too long becomes kTooLarge bytes, and then the group is refused.
TRANSLOAD_HD Block take(Cursor& at, const Extent& e) {
  const uint64_t blocks = times(times(times(e.n0, e.n1), e.n2), e.n3);
  return {.offset = at.take(blocks, e.unit), .unit = e.unit, .n1 = e.n1, .n2 = e.n2, .n3 = e.n3, .n0 = e.n0};
}

// Rings between peers. On a channel, member m = peer * streams + stream: one ring is one stream.
struct PeerRings {
  Block tail;    // [channel][member]        in the consumer's region; the producer writes, the consumer reads
  Block credit;  // [channel][member]        in the producer's region; the consumer writes, the producer reads
  Block slots;   // [channel][member][slot]  in the consumer's region; the producer fills a slot once it is credited
  uint32_t streams;
};

// Rings along rails. Members are nodes on the side of a token's origin, source slots on the side of its forwarder.
struct RailRings {
  Block tail;    // [channel][member]        in the consumer's region; the producer writes, the consumer reads
  Block credit;  // [channel][member]        in the producer's region; the consumer writes, the producer reads
  // [channel][member][slot]  in the producer's region; the producer writes, the network reads. A slot is written again
  // once it is credited and the network has read it.
  Block send;
  Block recv;  // [channel][member][slot]  in the consumer's region; the producer puts or stores, the consumer reads
};

// Streams of the dispatch rings between peers: what a peer's sender fills, and what its forwarder fills.
enum : uint32_t { kFromSender = 0, kFromForwarder = 1, kDispatchStreams = 2 };

struct ScaleUpRegion {
  Block card_word;     // [peer]                  epoch of that peer's newest card
  Block card;          // [epoch % 2][peer]       Card
  Block grant_word;    // [peer]                  epoch of that peer's newest grant
  Block grant;         // [epoch % 2][peer]       Grant, then row bases by source slot of that peer
  Block counts_word;   // [peer]                  number of the notify for which that peer's counts are complete
  Block counts;        // [notify % 2][source rank]  Counts; written by the peer that brings that source's tokens
  Block done_word;     // [peer]                  epoch in which that peer is done with my memory
  PeerRings dispatch;  // streams: kDispatchStreams
  PeerRings combine;   // streams: source slots of the reducer
  uint64_t ring_bytes, bytes;

  static ScaleUpRegion plan(const Geometry& g, uint64_t card_bytes, uint64_t grant_bytes);
};

struct NetworkRegion {
  Block asleep;            // [1]  a flag, no word: the owner sets it before it sleeps; whoever rings its bell clears it
  Block hello;             // [nodes + sources]          1 once the path from that rail or source was tried
  Block card_send;         // [epoch % 2]                my card; written by me, read by the network
  Block source_card_word;  // [source slot]              epoch of that source's newest card
  Block source_card;       // [epoch % 2][source slot]   Card
  Block rail_card_word;    // [node]                     epoch of the newest card of my rail on that node
  Block rail_card;         // [epoch % 2][node]          Card, written by that rail
  Block counts_word;       // [source slot]              number of the notify of that source's newest counts
  Block counts;            // [notify % 2][source slot]  NodeCounts
  Block counts_send;       // [notify % 2][node]         my NodeCounts for that node; written by me, read by the network
  RailRings dispatch;      // from origins (members: nodes) to forwarders (members: source slots)
  RailRings combine;       // from forwarders to origins
  uint64_t ring_bytes, bytes;

  static NetworkRegion plan(const Geometry& g, uint64_t card_bytes);
};

// The formula that MemoryReport has: the ring_bytes of both regions, as their plan() adds them up.
constexpr const char* ring_formula(const Geometry& g) {
  return g.mapped_rails
             ? "channels x (peer slots x (peers x 2 x token bytes + peers x sources x sum bytes) + slots x (sources x "
               "token bytes + nodes x sum bytes)), sources = nodes x ceil(largest node / smallest node)"
             : "channels x (peer slots x (peers x 2 x token bytes + peers x sources x sum bytes) + slots x (sources + "
               "nodes) x (token bytes + sum bytes)), sources = nodes x ceil(largest node / smallest node)";
}

inline ScaleUpRegion ScaleUpRegion::plan(const Geometry& g, uint64_t card_bytes, uint64_t grant_bytes) {
  Cursor at{.unit = kSlotAlign};
  ScaleUpRegion r{};
  r.card_word = take(at, {kWordBytes, g.peers});
  r.card = take(at, {card_bytes, 2, g.peers});
  r.grant_word = take(at, {kWordBytes, g.peers});
  r.grant = take(at, {grant_bytes, 2, g.peers});
  r.counts_word = take(at, {kWordBytes, g.peers});
  r.counts = take(at, {g.counts_bytes(), 2, g.ranks});
  r.done_word = take(at, {kWordBytes, g.peers});
  const uint32_t dispatch_members = g.peers * kDispatchStreams, combine_members = g.peers * g.sources();
  r.dispatch.streams = kDispatchStreams;
  r.dispatch.tail = take(at, {kWordBytes, g.channels, dispatch_members});
  r.dispatch.credit = take(at, {kWordBytes, g.channels, dispatch_members});
  r.combine.streams = g.sources();
  r.combine.tail = take(at, {kWordBytes, g.channels, combine_members});
  r.combine.credit = take(at, {kWordBytes, g.channels, combine_members});
  const uint64_t rings_begin = at.bytes;
  r.dispatch.slots = take(at, {g.token_stride(), g.channels, dispatch_members, g.slots_between_peers()});
  r.combine.slots = take(at, {g.sum_stride(), g.channels, combine_members, g.slots_between_peers()});
  r.ring_bytes = at.bytes - rings_begin;
  r.bytes = at.bytes;
  return r;
}

inline NetworkRegion NetworkRegion::plan(const Geometry& g, uint64_t card_bytes) {
  Cursor at{.unit = kSlotAlign};
  NetworkRegion r{};
  const uint32_t sources = g.sources();
  r.asleep = take(at, {kWordBytes, 1});
  r.hello = take(at, {kWordBytes, g.nodes + sources});
  r.card_send = take(at, {card_bytes, 2});
  r.source_card_word = take(at, {kWordBytes, sources});
  r.source_card = take(at, {card_bytes, 2, sources});
  r.rail_card_word = take(at, {kWordBytes, g.nodes});
  r.rail_card = take(at, {card_bytes, 2, g.nodes});
  r.counts_word = take(at, {kWordBytes, sources});
  r.counts = take(at, {g.node_counts_bytes(), 2, sources});
  r.counts_send = take(at, {g.node_counts_bytes(), 2, g.nodes});
  r.dispatch.tail = take(at, {kWordBytes, g.channels, sources});
  r.dispatch.credit = take(at, {kWordBytes, g.channels, g.nodes});
  r.combine.tail = take(at, {kWordBytes, g.channels, g.nodes});
  r.combine.credit = take(at, {kWordBytes, g.channels, sources});
  const uint64_t rings_begin = at.bytes;
  const uint32_t staged = g.mapped_rails ? 0 : 1;
  r.dispatch.send = take(at, {g.token_stride(), g.channels, g.nodes * staged, g.slots});
  r.dispatch.recv = take(at, {g.token_stride(), g.channels, sources, g.slots});
  r.combine.send = take(at, {g.sum_stride(), g.channels, sources * staged, g.slots});
  r.combine.recv = take(at, {g.sum_stride(), g.channels, g.nodes, g.slots});
  r.ring_bytes = at.bytes - rings_begin;
  r.bytes = at.bytes;
  return r;
}

}  // namespace transload
