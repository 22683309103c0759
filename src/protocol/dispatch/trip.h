// What the roles of a dispatch know, beside the call.
#pragma once
#include "channel/ring.h"
#include "layout/channels.h"
#include "layout/handle.h"
#include "layout/placement.h"
#include "layout/token.h"
#include "protocol/call/grants.h"

namespace transload {

struct DispatchTrip {
  Call call;
  TokenShape shape;
  Positions up_positions, rail_positions;  // positions in the dispatch rings
  Placement experts;

  // The routing. In a first dispatch forwarders fill the log and log_token of `made`, and receivers its row_token. Only
  // later calls read, through `handle`, what they fill.
  HandleView handle;
  HandleTables made;
  uint32_t width, log_width;  // the most routes of a token; the most owners in an entry of the log

  // Sender: my tokens.
  uint64_t tokens;
  const char* x;           // [tokens][row_bytes]
  const char* x_scales;    // scales of token 0; those of one token follow each other
  int64_t x_scale_stride;  // bytes from the scales of one token to those of the next
  const char* headers;     // [tokens][header_bytes]

  // Forwarder: what comes from each source slot, in order.
  Spans forward;         // [source slot][channel] entries of the log
  uint64_t log_entries;  // entries that the log has room for

  // Receiver: my rows.
  Spans arriving;       // [source rank][channel] rows
  Word rows_max;        // rows from this one on are dropped
  bool direct;          // whether my landing is direct
  char* rows;           // [rows][row_bytes]
  char* row_headers;    // [rows][header_bytes], where a direct landing leaves headers on the first dispatch
  char* scales;         // [rows][scale_bytes]
  int32_t* topk_idx;    // [rows][top_k]; null if the caller wants ids of 64 bits
  int64_t* wide_idx;    // [rows][top_k]; null if the caller wants ids of 32 bits
  float* topk_weights;  // [rows][top_k]
  int32_t* source;      // [rows][2]

  TRANSLOAD_HD const RankMap& map() const { return call.map(); }
  TRANSLOAD_HD uint64_t kept(uint64_t row) const { return row < rows_max ? row : rows_max; }
  // Rows that I store: all but the dropped ones.
  TRANSLOAD_HD uint64_t rows_kept() const { return kept(handle.row_base[map().ranks]); }
  // Rows of a source that come on a channel: they follow each other, so the dropped ones are the last.
  TRANSLOAD_HD uint64_t rows_coming(uint32_t rank, uint32_t channel) const {
    return kept(arriving.at(rank, channel + 1)) - kept(arriving.at(rank, channel));
  }
  // My receivers wait for all peers to be done before they unpack headers.
  TRANSLOAD_HD bool unpacks_at_end() const { return direct && shape.listed; }
  TRANSLOAD_HD PeerLink peers() const { return {call.board, &call.board->up.dispatch, &up_positions}; }
  TRANSLOAD_HD RailLink toward_nodes() const {
    return {.board = call.board,
            .rings = &call.board->net.dispatch,
            .positions = &rail_positions,
            .others = call.board->rails,
            .count = map().nodes};
  }
  TRANSLOAD_HD RailLink from_sources() const {
    return {.board = call.board,
            .rings = &call.board->net.dispatch,
            .positions = &rail_positions,
            .others = call.board->sources,
            .count = map().sources()};
  }
};

TRANSLOAD_HD const Header* header_at(const char* at) { return reinterpret_cast<const Header*>(at); }

// The pieces of a token that lies in a slot.
TRANSLOAD_HD TokenPieces pieces_in(const DispatchTrip& t, const char* slot) {
  return {.row = slot,
          .row_bytes = t.shape.row_bytes,
          .extra = slot + t.shape.header_offset(),
          .extra_bytes = t.shape.header_bytes(),
          .scales = slot + t.shape.row_bytes,
          .scale_bytes = t.shape.scale_bytes()};
}
TRANSLOAD_HD Destination slot_at(const DispatchTrip& t, char* slot, bool staged) {
  return {slot, slot + t.shape.header_offset(), staged, slot + t.shape.row_bytes};
}

// Where a token ends at a peer whose landing is direct. Only a first dispatch stores the header too, for the receiver
// to unpack.
template <Warp W>
TRANSLOAD_WARP Destination final_place(const DispatchTrip& t, const Grants<W>& grants, Route to, Word row) {
  const int p = int(to.target);
  return {grants.rows(p) + row * t.shape.row_bytes,
          t.shape.listed ? grants.headers_or_weights(p) + row * t.shape.header_bytes() : nullptr, false,
          t.shape.scales > 0 ? grants.scales(p) + row * t.shape.scale_bytes() : nullptr};
}

// Members of the dispatch rings between peers that one stream fills: those of peers whose landing is not direct.
template <Warp W>
TRANSLOAD_WARP MembersOf<W> members_filled_by(W& w, const DispatchTrip& t, const Grants<W>& grants, uint32_t stream) {
  return w.where(W::Members::first(int(t.map().peers * kDispatchStreams)),
                 [&](Lane m) { return m % kDispatchStreams == stream && !grants.reachable(m / kDispatchStreams); });
}

}  // namespace transload
