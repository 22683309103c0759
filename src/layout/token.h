// A token on the wire: its row, its scales, then its header. A cached call's header has no entries.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/macros.h"
#include "base/math.h"

namespace transload {

constexpr uint32_t kTokenUnit = 16;  // bytes; every piece of a token is a multiple of this, as bulk copies demand

// Two lists side by side, of a token's owners and of its router's choices. Entry i has the i-th owner in ascending
// order, with the token's ordinal among all that its source sends to that owner, and the i-th choice.
struct HeaderEntry {
  uint32_t owner;  // rank; entries past owner_count are unused
  uint32_t ordinal;
  int32_t expert;  // global id, -1 for no choice
  float weight;
};
struct Header {
  uint32_t source;  // rank
  uint32_t token;   // index of the token at its source
  uint32_t owner_count;
  uint32_t choice_count;  // top-k

  TRANSLOAD_HD HeaderEntry* entries() { return reinterpret_cast<HeaderEntry*>(this + 1); }
  TRANSLOAD_HD const HeaderEntry* entries() const { return reinterpret_cast<const HeaderEntry*>(this + 1); }
};
static_assert(sizeof(Header) == kTokenUnit && sizeof(HeaderEntry) == kTokenUnit);
static_assert(offsetof(Header, token) == 4 && offsetof(Header, owner_count) == 8 &&
              offsetof(Header, choice_count) == 12);
static_assert(offsetof(HeaderEntry, ordinal) == 4 && offsetof(HeaderEntry, expert) == 8 &&
              offsetof(HeaderEntry, weight) == 12);

// Bytes of the tokens of one call, alike on all ranks.
struct TokenShape {
  uint64_t row_bytes;
  uint32_t scales;  // 4-byte scalars
  uint32_t top_k;
  bool listed;  // headers have entries; those of a cached call have none, because logs and handles have the facts

  TRANSLOAD_HD uint64_t scale_bytes() const { return uint64_t(scales) * 4; }  // scales of final rows lie without gaps
  TRANSLOAD_HD uint64_t scale_room() const { return round_up(scale_bytes(), kTokenUnit); }  // bytes in a slot
  TRANSLOAD_HD uint64_t header_bytes() const { return sizeof(Header) + (listed ? top_k * sizeof(HeaderEntry) : 0); }
  TRANSLOAD_HD uint64_t header_offset() const { return row_bytes + scale_room(); }  // where the header begins in a slot
  TRANSLOAD_HD uint64_t bytes() const { return header_offset() + header_bytes(); }
};

// A route of a token as its sender or forwarder keeps it: a target and the token's ordinal there.
struct alignas(8) Route {
  uint32_t target;   // sender: peer, or peers + node; forwarder: peer; kNoRoute past the last
  uint32_t ordinal;  // row at a peer = row base of my tokens there + ordinal; unused for a node
};
constexpr uint32_t kNoRoute = ~uint32_t(0);

}  // namespace transload
