// Rung 5, the litmus: who observes a count reads every byte that it counts.
#pragma once
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// Rings from each side to the other: agents 0 to rings - 1 of a side produce, those behind them consume. Or one ring,
// from side 0 to side 1.
struct PublishRung {
  uint32_t row_bytes;
  uint64_t rows, slots;
  int rings;             // 0: the one
  bool settles = false;  // and then tells by a store that is no mark

  int producers(int side) const { return rings > 0 ? rings : side == 0; }
  int consumers(int side) const { return rings > 0 ? rings : side == 1; }

  // Every eight bytes of every row are others.
  TRANSLOAD_HD static Word value(int from, int ring, uint64_t row, uint64_t k) {
    return (row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(from * 8 + ring) << 56;
  }
  // Words of a ring that side `from` fills: its tail is the consumer's, its head the producer's.
  static constexpr int kHeads = 100;
  template <class A>
  TRANSLOAD_WARP Word* slot(A& a, int from, int ring, uint64_t i) const {
    return reinterpret_cast<Word*>(a.room(1 - from) + (uint64_t(ring) * slots + i % slots) * row_bytes);
  }

  template <class A>
  TRANSLOAD_WARP void produce(A& a, int ring) const {
    const int other = 1 - a.side;
    a.w.enter(Role::kSender, ring);
    // As deep as the ring: a credit says that a row has been read.
    char* const sources = a.own((uint64_t(rings) + uint64_t(ring)) * slots * row_bytes, slots * row_bytes);
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      a.await(a.mine(kHeads + ring), i < slots ? 0 : i + 1 - slots, uint32_t(other), Waiting::kCredit);
      char* const source = sources + i % slots * row_bytes;
      a.lanes(row_bytes / 8, [&](uint32_t k) { reinterpret_cast<Word*>(source)[k] = value(a.side, ring, i, k); });
      a.wrote();
      char* const to = reinterpret_cast<char*>(slot(a, a.side, ring, i));
      a.w.scatter({source, row_bytes, nullptr, 0}, Set::only(ring + 3), [&](Lane) {
        return Destination{to, nullptr, false};
      });
      if (!settles) {
        a.publish(other, ring, i + 1);
        continue;
      }
      a.w.settle();
      a.tell(other, ring, i + 1);
    }
    a.w.drain();
  }
  template <class A>
  TRANSLOAD_WARP void consume(A& a, int ring) const {
    a.w.enter(Role::kReceiver, ring);
    const int from = 1 - a.side;
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      if (!a.await(a.mine(ring), i + 1, uint32_t(from))) break;
      const Word* const row = slot(a, from, ring, i);
      a.lanes(row_bytes / 8, [&](uint32_t k) { a.tally.eq(a.w.peek(row + k), value(from, ring, i, k), __LINE__); });
      a.credit(from, kHeads + ring, i + 1);
    }
    a.w.settle();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const bool produces = rings > 0 ? a.number < rings : a.side == 0;
    if (produces)
      produce(a, a.number);
    else
      consume(a, rings > 0 ? a.number - rings : a.number);
  }
};

template <class S>
void play_rings(S& stage, const PublishRung& rung, uint32_t every) {
  stage.clear();
  typename S::Setting setting;
  setting.publish_every = setting.credit_every = every;
  const int agents[2] = {rung.producers(0) + rung.consumers(0), rung.producers(1) + rung.consumers(1)};
  stage.template play<typename S::Scatter>(rung, agents, setting);
  for (int side : {0, 1})
    for (int ring = 0; ring < rung.consumers(side); ++ring)
      stage.ledger.eq(stage.word(side, ring), rung.rows, "the tail of a ring");
}
constexpr int kLitmusRings = 3;
constexpr uint64_t kLitmusSlots = 16;
template <class S>
void publish_rung(S& stage) {
  for (uint32_t every : {1, 8})
    for (uint32_t row_bytes : {64, 128, 256, 448, 512})
      play_rings(stage, {row_bytes, stage.rounds(6000), kLitmusSlots, kLitmusRings}, every);
  play_rings(stage, {14336, stage.rounds(1500), kLitmusSlots, kLitmusRings}, 8);
}
template <class S>
void settle_rung(S& stage) {
  for (uint32_t row_bytes : {64, 256, 512})
    play_rings(stage, {row_bytes, stage.rounds(6000), kLitmusSlots, kLitmusRings, true}, 8);
}

}  // namespace transload::rungs
