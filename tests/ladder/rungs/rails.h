// Rung 12: rows along a rail that is not mapped: staged, put, counted, and their slots given back.
#pragma once
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// From one agent to another. A slot is free again when its put has been read and its row has been taken.
struct RailStream {
  uint64_t slots, rows;
  uint32_t row_bytes;
  uint32_t sender, receiver;  // ranks
  char *source, *staged;      // the sender's, [slots][row_bytes]: of its own, and of its network region
  char* ring;                 // the receiver's, [slots][row_bytes]
  uint64_t ring_offset;       // in the receiver's network region
  Word *drained, *credit;     // the sender's
  Word* tail;                 // the receiver's
  uint64_t credit_offset, tail_offset;

  TRANSLOAD_WARP uint64_t at(uint64_t row) const { return row % slots * row_bytes; }
  TRANSLOAD_WARP static Word value(uint64_t row, uint64_t k) {
    return row * 0x9E3779B97F4A7C15u + (k + 1) * 0xD1B54A32D192ED03u;
  }
};

template <class A>
TRANSLOAD_WARP void put_rows(A& a, const RailStream& s) {
  const Set one = Set::only(0);
  for (uint64_t i = 0; i < s.rows; ++i) {
    const Word least = i < s.slots ? 0 : i + 1 - s.slots;
    if (!a.await(s.drained, least, s.sender, Waiting::kDrained)) break;
    if (!a.await(s.credit, least, s.receiver, Waiting::kCredit)) break;
    const uint64_t at = s.at(i);
    a.lanes(s.row_bytes / 8, [&](uint32_t k) { reinterpret_cast<Word*>(s.source + at)[k] = s.value(i, k); });
    a.wrote();
    a.w.scatter({s.source + at, s.row_bytes, nullptr, 0}, one, [&](Lane) {
      return Destination{s.staged + at, nullptr, true};
    });
    a.w.put(one,
            [&](Lane) { return Put{s.staged + at, s.ring_offset + at, s.row_bytes, s.receiver, s.drained, i + 1}; });
    a.w.publish(one, [&](Lane) { return Mark<RailWord>{{s.tail_offset, s.receiver}, i + 1}; });
  }
  a.w.drain();
}

template <class A>
TRANSLOAD_WARP void take_rows(A& a, const RailStream& s) {
  for (uint64_t i = 0; i < s.rows; ++i) {
    if (!a.await(s.tail, i + 1, s.sender)) break;
    const Word* const row = reinterpret_cast<const Word*>(s.ring + s.at(i));
    a.lanes(s.row_bytes / 8, [&](uint32_t k) { a.tally.eq(a.w.peek(row + k), s.value(i, k), __LINE__); });
    a.w.credit(Set::only(0), [&](Lane) { return Mark<RailWord>{{s.credit_offset, s.sender}, i + 1}; });
  }
  a.tally.eq(a.w.failed(), false, __LINE__);
  a.w.drain();
}

}  // namespace transload::rungs
