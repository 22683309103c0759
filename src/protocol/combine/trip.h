// What the roles of a combine know, beside the call. A combine uses the streams of its dispatch backwards, over the
// same forwarders.
#pragma once
#include "channel/ring.h"
#include "layout/channels.h"
#include "layout/handle.h"
#include "layout/token.h"
#include "protocol/call/grants.h"

namespace transload {

struct CombineTrip {
  Call call;
  uint64_t elements;                       // bf16 numbers of a row
  Scalar wire;                             // the type of partial sums between nodes
  uint32_t weights;                        // fp32 values beside a row that are summed too; 0: none
  Positions up_positions, rail_positions;  // of this rank's combine rings
  HandleView handle;                       // the handle of the dispatch
  uint32_t width, log_width;               // how many routes a token has in handle.routes and in handle.log

  // Receiver: my tokens.
  uint64_t tokens;
  const char* bias[2];  // [tokens][elements] bf16, or null
  char* out;            // [tokens][elements] bf16
  char* out_weights;    // [tokens][weights] fp32
  bool spare_out;       // after a failure `out` and `out_weights` have room for one token, which nobody reads

  // Forwarder.
  Spans forward;  // [source slot][channel] entries of the log

  // Sender (source push): my rows, by source rank.
  Spans rows_of;            // [source rank][channel] rows
  Word rows_max;            // rows from this one on were dropped
  const char* rows;         // [rows][elements] bf16
  const char* row_weights;  // [rows][weights] fp32

  TRANSLOAD_HD const RankMap& map() const { return call.map(); }
  TRANSLOAD_HD uint64_t kept(uint64_t row) const { return row < rows_max ? row : rows_max; }
  TRANSLOAD_HD uint64_t place_of(uint64_t token) const { return spare_out ? 0 : token; }
  TRANSLOAD_HD uint64_t row_bytes() const { return elements * scalar_bytes(Scalar::kBf16); }
  TRANSLOAD_HD uint64_t weight_bytes() const { return uint64_t(weights) * 4; }
  TRANSLOAD_HD uint64_t partial_bytes() const { return elements * scalar_bytes(wire); }
  // Bytes of a slot between nodes: the partial sum, then the weights.
  TRANSLOAD_HD uint64_t put_bytes() const { return round_up(partial_bytes() + weight_bytes(), kTokenUnit); }
  TRANSLOAD_HD PeerLink peers() const { return {call.board, &call.board->up.combine, &up_positions}; }
  TRANSLOAD_HD RailLink toward_origins() const {
    return {.board = call.board,
            .rings = &call.board->net.combine,
            .positions = &rail_positions,
            .others = call.board->sources,
            .count = map().sources()};
  }
  TRANSLOAD_HD RailLink from_nodes() const {
    return {.board = call.board,
            .rings = &call.board->net.combine,
            .positions = &rail_positions,
            .others = call.board->rails,
            .count = map().nodes};
  }
  // The ring that brings me peer p's rows for the tokens of one of my source slots.
  TRANSLOAD_HD int ring(uint32_t p, uint32_t slot) const { return int(p * call.board->up.combine.streams + slot); }
  TRANSLOAD_HD uint32_t own_slot() const { return map().node * map().fold; }
};

// Where the owners of one token left its rows: read where they lie (pull), or at the head of a ring (push).
template <Warp W>
struct OwnerRows {
  const Grants<W>& grants;
  Inbox<W, PeerLink>& rings;
  uint32_t slot;

  // The number of the token's row in the output of that owner.
  TRANSLOAD_WARP Word number(const Route& route) const { return grants.row(int(route.target), slot, route.ordinal); }
  TRANSLOAD_WARP bool kept(const Route& route, Word number) const {
    return grants.keeps(int(route.target), number) || planted<PlantsOf<W>>(Canary::kDroppedRowSummed);
  }
  TRANSLOAD_WARP bool pushed(const Route& route) const { return !grants.reachable(int(route.target)); }
  TRANSLOAD_WARP const char* row(const CombineTrip& t, const Route& route, Word number) const {
    if (pushed(route)) return rings.first(t.ring(route.target, slot));
    return grants.rows(int(route.target)) + number * t.row_bytes();
  }
  TRANSLOAD_WARP const char* weights(const CombineTrip& t, const Route& route, Word number) const {
    if (pushed(route)) return rings.first(t.ring(route.target, slot)) + t.row_bytes();
    return grants.headers_or_weights(int(route.target)) + number * t.weight_bytes();
  }
};

}  // namespace transload
