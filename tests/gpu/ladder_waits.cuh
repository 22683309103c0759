// Rungs 5 to 9 on CudaWarp: counts and credits, waits, claims.
#pragma once
#include "gpu/agents.cuh"

namespace transload::gpu {

// Rung 5: who observes a count reads every byte that it counts. A ring from each side to the other, kRings times:
// agents 0 to kRings - 1 of a side produce, those behind them consume.
struct PublishRung {
  static constexpr int kRings = 3;
  static constexpr uint64_t kSlots = 16;
  static constexpr size_t kSourcesAt = 16 << 20;
  uint32_t row_bytes;
  uint64_t rows;
  bool settles;  // and then tells by a store that is no mark

  TRANSLOAD_DEVICE static Word value(int from, int ring, uint64_t row, uint64_t k) {
    return (row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(from * 8 + ring) << 56;
  }
  // Words of a ring that side `from` fills: its tail is the consumer's, its head the producer's.
  template <class W>
  TRANSLOAD_DEVICE Word* tail(Agent<W>& a, int from, int ring) const {
    return a.word(1 - from, ring);
  }
  template <class W>
  TRANSLOAD_DEVICE Word* head(Agent<W>& a, int from, int ring) const {
    return a.word(from, 100 + ring);
  }
  template <class W>
  TRANSLOAD_DEVICE Word* slot(Agent<W>& a, int from, int ring, uint64_t i) const {
    return reinterpret_cast<Word*>(a.room(1 - from) + (uint64_t(ring) * kSlots + i % kSlots) * row_bytes);
  }

  template <class W>
  TRANSLOAD_DEVICE void produce(Agent<W>& a, int ring) const {
    a.w.enter(Role::kSender, ring);
    char* const sources = a.room(a.side) + kSourcesAt + uint64_t(ring) * kSlots * row_bytes;
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      a.await(head(a, a.side, ring), i < kSlots ? 0 : i + 1 - kSlots, 0, Waiting::kCredit);
      char* const source = sources + i % kSlots * row_bytes;
      for (uint32_t k = threadIdx.x % 32; k < row_bytes / 8; k += 32)
        reinterpret_cast<Word*>(source)[k] = value(a.side, ring, i, k);
      a.wrote();
      char* const to = reinterpret_cast<char*>(slot(a, a.side, ring, i));
      a.w.scatter({source, row_bytes, nullptr, 0}, Set::only(ring + 3), [&](Lane) {
        return Destination{to, nullptr, false};
      });
      if (!settles) {
        a.publish(tail(a, a.side, ring), i + 1);
        continue;
      }
      a.w.settle();
      a.w.once([&] { ptx::store_release(tail(a, a.side, ring), i + 1); });
    }
    a.w.drain();
  }
  template <class W>
  TRANSLOAD_DEVICE void consume(Agent<W>& a, int ring) const {
    a.w.enter(Role::kReceiver, ring);
    const int from = 1 - a.side;
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      if (!a.await(tail(a, from, ring), i + 1, uint32_t(from))) break;
      const Word* const row = slot(a, from, ring, i);
      for (uint32_t k = threadIdx.x % 32; k < row_bytes / 8; k += 32)
        a.tally.eq(a.w.peek(row + k), value(from, ring, i, k), __LINE__);
      a.credit(head(a, from, ring), i + 1);
    }
    a.w.settle();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    if (a.number < kRings)
      produce(a, a.number);
    else
      consume(a, a.number - kRings);
  }
};
inline void play_rings(Stage& stage, const PublishRung& rung, uint32_t every) {
  stage.clear();
  Setting setting;
  setting.publish_every = setting.credit_every = every;
  stage.play<ScatterPipe>(rung, {2 * PublishRung::kRings, 2 * PublishRung::kRings}, setting);
  for (int ring = 0; ring < PublishRung::kRings; ++ring)
    for (int side : {0, 1}) stage.ledger.eq(stage.word(side, ring), rung.rows, "the tail of a ring");
}
inline void publish_rung(Stage& stage) {
  for (uint32_t every : {1, 8})
    for (uint32_t row_bytes : {64, 128, 256, 448, 512}) play_rings(stage, {row_bytes, 6000, false}, every);
  play_rings(stage, {14336, 1500, false}, 8);
}
inline void settle_rung(Stage& stage) {
  for (uint32_t row_bytes : {64, 256, 512}) play_rings(stage, {row_bytes, 6000, true}, 8);
}

// Rung 6: rings of one slot and of few, whatever is batched: marks are all set before a warp really waits.
struct CreditRung {
  uint64_t slots, rows;

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const int other = 1 - a.side;
    auto slot = [&](int at, uint64_t i) { return a.room(at) + i % slots * 64; };
    char* const sources = a.room(a.side) + (1 << 20);
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      a.await(a.mine(1), i < slots ? 0 : i + 1 - slots, uint32_t(other), Waiting::kCredit);
      char* const source = sources + i % slots * 64;
      if (threadIdx.x % 32 < 8) reinterpret_cast<Word*>(source)[threadIdx.x % 32] = i * 16 + threadIdx.x % 32 + a.side;
      a.wrote();
      a.w.scatter({source, 64, nullptr, 0}, Set::only(0), [&](Lane) {
        return Destination{slot(other, i), nullptr, false};
      });
      a.publish(a.word(other, 0), i + 1);
      a.await(a.mine(0), i + 1, uint32_t(other));
      for (int k = 0; k < 8; ++k)
        a.tally.eq(a.w.peek(reinterpret_cast<const Word*>(slot(a.side, i)) + k), i * 16 + k + other, __LINE__);
      a.credit(a.word(other, 1), i + 1);
    }
    a.w.drain();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
inline void credit_rung(Stage& stage) {
  constexpr Word kRows = 400;
  for (uint64_t slots : {1, 2, 3, 16})
    for (uint32_t every : {1, 3, 8, 1000}) {
      stage.clear();
      Setting setting;
      setting.publish_every = setting.credit_every = every;
      stage.play<ScatterPipe>(CreditRung{slots, kRows}, {1, 1}, setting);
      for (int side : {0, 1})
        for (int i : {0, 1}) stage.ledger.eq(stage.word(side, i), kRows, "a word of a ring");
    }
}

// A row is moved from a ring to the next one: the credit of a slot waits until the move has read it. Of each line, side
// 0 has both ends (agents 2 * line and 2 * line + 1), side 1 forwards.
struct ForwardRung {
  static constexpr int kLines = 3;
  static constexpr size_t kSourcesAt = 16 << 20, kArrivalsAt = 32 << 20;
  uint64_t slots, rows;
  uint32_t row_bytes;
  bool sums;  // of one row, which is a copy too

  TRANSLOAD_DEVICE static Word value(int line, uint64_t row, uint64_t k) {  // as bf16 each is positive and finite
    return ((row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(line)) & 0x3FFF3FFF3FFF3FFFu;
  }
  TRANSLOAD_DEVICE uint64_t at(int line, uint64_t i) const { return (uint64_t(line) * slots + i % slots) * row_bytes; }
  TRANSLOAD_DEVICE Word free_from(uint64_t i) const { return i < slots ? 0 : i + 1 - slots; }

  template <class W>
  TRANSLOAD_DEVICE void produce(Agent<W>& a, int line) const {
    for (uint64_t i = 0; i < rows && a.await(a.mine(100 + line), free_from(i), 1, Waiting::kCredit); ++i) {
      char* const source = a.room(0) + kSourcesAt + at(line, i);
      for (uint32_t k = threadIdx.x % 32; k < row_bytes / 8; k += 32)
        reinterpret_cast<Word*>(source)[k] = value(line, i, k);
      a.wrote();
      char* const to = a.room(1) + at(line, i);
      a.w.scatter({source, row_bytes, nullptr, 0}, Set::only(0), [&](Lane) { return Destination{to, nullptr, false}; });
      a.publish(a.word(1, line), i + 1);
    }
    a.w.settle();
  }
  template <class W>
  TRANSLOAD_DEVICE void forward(Agent<W>& a, int line) const {
    for (uint64_t i = 0; i < rows; ++i) {
      if (!a.await(a.mine(line), i + 1, 0) || !a.await(a.mine(300 + line), free_from(i), 0, Waiting::kCredit)) break;
      const char* const from = a.room(1) + at(line, i);
      char* const to = a.room(0) + kArrivalsAt + at(line, i);
      if (sums) {
        const SumShape shape{row_bytes / 2, Scalar::kBf16, Scalar::kBf16, Scalar::kBf16, {nullptr, nullptr}, false};
        a.w.reduce(to, shape, Sum{{}, Set::only(5), {}}, [&](Lane) { return from; });
      } else {
        a.w.scatter({from, row_bytes, nullptr, 0}, Set::only(7), [&](Lane) { return Destination{to, nullptr, false}; });
      }
      a.publish(a.word(0, 200 + line), i + 1);
      a.credit(a.word(0, 100 + line), i + 1);
    }
    a.w.settle();
  }
  template <class W>
  TRANSLOAD_DEVICE void consume(Agent<W>& a, int line) const {
    for (uint64_t i = 0; i < rows && a.await(a.mine(200 + line), i + 1, 1); ++i) {
      const Word* const row = reinterpret_cast<const Word*>(a.room(0) + kArrivalsAt + at(line, i));
      for (uint32_t k = threadIdx.x % 32; k < row_bytes / 8; k += 32)
        a.tally.eq(a.w.peek(row + k), value(line, i, k), __LINE__);
      a.credit(a.word(1, 300 + line), i + 1);
    }
    a.w.settle();
  }
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    if (a.side == 1)
      forward(a, a.number);
    else if (a.number % 2 == 0)
      produce(a, a.number / 2);
    else
      consume(a, a.number / 2);
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
inline void forward_rung(Stage& stage) {
  constexpr int kLines = ForwardRung::kLines;
  for (uint32_t every : {1, 8})
    for (uint64_t slots : {1, 2, 16})
      for (uint32_t row_bytes : {64, 4112, 14336})
        for (bool sums : {false, true}) {
          stage.clear();
          const ForwardRung rung{slots, 1000, row_bytes, sums};
          Setting setting;
          setting.publish_every = setting.credit_every = every;
          if (sums)
            stage.play<ReducePipe>(rung, {2 * kLines, kLines}, setting);
          else
            stage.play<ScatterPipe>(rung, {2 * kLines, kLines}, setting);
          for (int line = 0; line < kLines; ++line) {
            stage.ledger.eq(stage.word(0, 200 + line), rung.rows, "rows that arrived");
            stage.ledger.eq(stage.word(0, 100 + line), rung.rows, "slots that were freed");
          }
        }
}

struct MarksRung {
  static constexpr int kWords = 300;
  bool credits;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const CudaMembers all = CudaMembers::first(kWords);
    for (Word count = 1; count < 4; ++count) {
      auto mark = [&](Lane l) { return Mark<PeerWord>{{a.word(1, l.i), 0}, count * 1000 + Word(l.i)}; };
      if (credits)
        a.w.credit(all, mark);
      else
        a.w.publish(all, mark);
    }
    a.w.settle();
  }
};
inline void marks_rung(Stage& stage) {
  for (bool credits : {false, true})
    for (uint32_t every : {1, 2, 1000}) {
      stage.clear();
      Setting setting;
      setting.publish_every = setting.credit_every = every;
      stage.play<ScatterPipe>(MarksRung{credits}, {1, 0}, setting);
      for (int i = 0; i < MarksRung::kWords; ++i)
        stage.ledger.eq(stage.word(1, i), Word(3000 + i), "word " + std::to_string(i));
    }
}

// Rung 7: a warp that waits for any of several streams serves those that move. Side 1 takes from kStreams agents of
// side 0; stream kLast moves only once all others have ended.
struct AnyRung {
  static constexpr int kStreams = 70, kLast = 33;
  Word rows;

  template <class W>
  TRANSLOAD_DEVICE void take(Agent<W>& a) const {
    auto taken = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    auto seen = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    for (;;) {
      const CudaMembers live = a.w.where(CudaMembers::first(kStreams), [&](Lane l) { return taken[l] < rows; });
      if (live.empty()) break;
      const CudaMembers ready = a.w.wait_any(
          live,
          [&](Lane l) {
            return Need{a.mine(l.i), taken[l] + 1, 0};
          },
          seen);
      if (ready.empty()) break;
      a.w.each(ready, [&](Lane l) {
        a.tally.eq(seen[l] > taken[l], true, __LINE__);
        taken[l] = seen[l];
      });
      a.w.publish(ready, [&](Lane l) { return Mark<PeerWord>{{a.word(0, l.i), 0}, taken[l]}; });
    }
    a.w.settle();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
  template <class W>
  TRANSLOAD_DEVICE void give(Agent<W>& a, int stream) const {
    const CudaMembers mine = CudaMembers::only(stream);
    auto seen = a.w.template table<Word>(kStreams, [](Lane) { return Word(0); });
    auto wait = [&](const CudaMembers& members, Word least) {
      return a.w.wait_all(
          members,
          [&](Lane l) {
            return Need{a.mine(l.i), least, 1, Waiting::kCredit};
          },
          seen);
    };
    if (stream == kLast) {
      CudaMembers others = CudaMembers::first(kStreams);
      others.remove(kLast);
      a.tally.eq(wait(others, rows).count(), kStreams - 1, __LINE__);
    }
    for (Word i = 0; i < rows && !a.w.failed(); ++i) {
      a.w.publish(mine, [&](Lane l) { return Mark<PeerWord>{{a.word(1, l.i), 1}, i + 1}; });
      wait(mine, i < 3 ? 0 : i - 2);
    }
    a.w.settle();
  }
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    if (a.side == 1)
      take(a);
    else
      give(a, a.number);
  }
};
inline void any_rung(Stage& stage) {
  constexpr Word kRows = 400;
  stage.play<ScatterPipe>(AnyRung{kRows}, {AnyRung::kStreams, 1});
  for (int i = 0; i < AnyRung::kStreams; ++i) stage.ledger.eq(stage.word(1, i), kRows, "a stream");
}

struct PollRung {
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const Set two = Set::first(2), one = Set::only(0);
    auto seen = a.w.template per<Word>(two, [](Lane) { return Word(0); });
    auto least = [&](Word n) { return [&a, n](Lane l) { return Need{a.mine(l.i), n, 0}; }; };
    if (a.number == 1) {  // until the other says so
      while (!a.w.failed() && a.w.poll(
                                     one,
                                     [&](Lane) {
                                       return Need{a.mine(2), 1, 0};
                                     },
                                     seen)
                                  .empty()) {
      }
      a.tally.eq(a.w.pick(seen, 0), 1, __LINE__);
      return;
    }
    a.w.once([&] { ptx::store_relaxed(a.mine(0), 5); });
    a.tally.eq(a.w.poll(two, least(4), seen).bits, 1, __LINE__);
    a.tally.eq(a.w.pick(seen, 0), 5, __LINE__);
    a.w.once([&] { ptx::store_relaxed(a.mine(0), 3); });  // as a count may look whose bytes land one by one
    a.tally.eq(a.w.wait_any(two, least(5), seen).bits, 1, __LINE__);
    a.tally.eq(a.w.poll(two, least(6), seen).bits, 0, __LINE__);
    a.tally.eq(a.w.pick(seen, 0), 5, __LINE__);
    a.tally.eq(a.w.pick(seen, 1), 0, __LINE__);
    a.tally.eq(a.w.wait_all(Set{}, least(9), seen).bits, 0, __LINE__);
    a.tally.eq(a.w.failed(), false, __LINE__);
    a.publish(a.mine(2), 1);
    a.w.settle();
  }
};
inline void poll_rung(Stage& stage) { stage.play<ScatterPipe>(PollRung{}, {2, 0}); }

// Rung 8: pairs of agents, one of each side, take turns: every wait is for something not yet there.
struct TurnsRung {
  Word turns;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    for (Word i = 1; i <= turns && !a.w.failed(); ++i) {
      if (a.side == 0) a.publish(a.word(1, a.number), i);
      a.tally.eq(a.await(a.mine(a.number), i, uint32_t(1 - a.side)), true, __LINE__);
      if (a.side == 1) a.publish(a.word(0, a.number), i);
    }
    a.w.settle();
  }
};
inline void turns_rung(Stage& stage) {
  constexpr Word kTurns = 8400;
  constexpr int kPairs = 60;
  stage.play<ScatterPipe>(TurnsRung{kTurns}, {kPairs, kPairs});  // 1,008,000 waits
  for (int pair = 0; pair < kPairs; ++pair)
    for (int side : {0, 1}) stage.ledger.eq(stage.word(side, pair), kTurns, "the word of a pair");
}

// Rung 9: claim hands each number out once; the last to arrive publishes for all.
struct ClaimRung {
  static constexpr int kWarps = 9, kNumbers = 1000;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    auto* const times = reinterpret_cast<uint32_t*>(a.room(0));
    for (Word n; (n = a.w.pick(a.w.claim(a.mine(0)), 0)) < kNumbers;) a.w.once([&] { atomicAdd(times + n, 1u); });
  }
};
inline void claim_rung(Stage& stage) {
  stage.fill(0, 0, ClaimRung::kNumbers * 4);
  stage.play<ScatterPipe>(ClaimRung{}, {ClaimRung::kWarps, 0});
  const std::vector<uint32_t> once(ClaimRung::kNumbers, 1);
  stage.ledger.bytes(stage.read(0, 0, once.size() * 4).data(), once.data(), once.size() * 4, "numbers claimed once");
  stage.ledger.eq(stage.word(0, 0), ClaimRung::kNumbers + ClaimRung::kWarps, "the counter");
}

struct ArriveRung {
  static constexpr int kWarps = 7;
  Word calls;
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    char* const rows = a.room(1);
    for (Word call = 1; call <= calls && !a.w.failed(); ++call) {
      if (a.side == 1) {
        if (!a.await(a.mine(0), call, 0, Waiting::kDone)) break;
        for (int k = threadIdx.x % 32; k < kWarps * 8; k += 32)
          a.tally.eq(a.w.peek(reinterpret_cast<const Word*>(rows) + k), call * 100 + Word(k / 8), __LINE__);
        for (int warp = 0; warp < kWarps; ++warp) a.publish(a.word(0, 1 + warp), call);
        a.w.settle();
        continue;
      }
      char* const source = a.room(0) + (1 << 20) + a.number * 64;
      if (threadIdx.x % 32 < 8) reinterpret_cast<Word*>(source)[threadIdx.x % 32] = call * 100 + Word(a.number);
      a.wrote();
      a.w.scatter({source, 64, nullptr, 0}, Set::only(a.number), [&](Lane) {
        return Destination{rows + a.number * 64, nullptr, false};
      });
      if (a.w.arrive(a.mine(0), call * kWarps)) a.publish(a.word(1, 0), call);
      a.await(a.mine(1 + a.number), call, 1, Waiting::kDone);
    }
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
inline void arrive_rung(Stage& stage) {
  constexpr Word kCalls = 2000;
  stage.play<ScatterPipe>(ArriveRung{kCalls}, {ArriveRung::kWarps, 1});
  stage.ledger.eq(stage.word(1, 0), kCalls, "the calls that were said to be done");
}

}  // namespace transload::gpu
