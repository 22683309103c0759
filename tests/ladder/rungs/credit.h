// Rung 6: rings of one slot and of few, rows that go on, and more marks than a warp holds.
#pragma once
#include <string>

#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// Whatever is batched: marks are all set before a warp really waits.
struct CreditRung {
  uint64_t slots, rows;

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const int other = 1 - a.side;
    auto slot = [&](int at, uint64_t i) { return a.room(at) + i % slots * 64; };
    // As deep as the ring: a credit says that a row has been read.
    char* const sources = a.own(1 << 20, slots * 64);
    for (uint64_t i = 0; i < rows && !a.w.failed(); ++i) {
      a.await(a.mine(1), i < slots ? 0 : i + 1 - slots, uint32_t(other), Waiting::kCredit);
      char* const source = sources + i % slots * 64;
      a.lanes(8, [&](uint32_t k) { reinterpret_cast<Word*>(source)[k] = i * 16 + k + Word(a.side); });
      a.wrote();
      a.w.scatter({source, 64, nullptr, 0}, Set::only(0), [&](Lane) {
        return Destination{slot(other, i), nullptr, false};
      });
      a.publish(other, 0, i + 1);
      a.await(a.mine(0), i + 1, uint32_t(other));
      for (int k = 0; k < 8; ++k)
        a.tally.eq(a.w.peek(reinterpret_cast<const Word*>(slot(a.side, i)) + k), i * 16 + k + other, __LINE__);
      a.credit(other, 1, i + 1);
    }
    a.w.drain();
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
template <class S>
void credit_rung(S& stage) {
  const Word rows = stage.rounds(400);
  for (uint64_t slots : {1, 2, 3, 16})
    for (uint32_t every : {1, 3, 8, 1000}) {
      stage.clear();
      typename S::Setting setting;
      setting.publish_every = setting.credit_every = every;
      stage.template play<typename S::Scatter>(CreditRung{slots, rows}, {1, 1}, setting);
      for (int side : {0, 1})
        for (int i : {0, 1}) stage.ledger.eq(stage.word(side, i), rows, "a word of a ring");
    }
}

// A row is moved from a ring to the next one: the credit of a slot waits until the move has read it. Of each line, side
// 0 has both ends (agents 2 * line and 2 * line + 1), side 1 forwards.
struct ForwardRung {
  static constexpr int kLines = 3;
  static constexpr size_t kSourcesAt = 1 << 20, kArrivalsAt = 2 << 20;
  uint64_t slots, rows;
  uint32_t row_bytes;
  bool sums;  // of one row, which is a copy too

  TRANSLOAD_WARP static Word value(int line, uint64_t row, uint64_t k) {  // as bf16 each is positive and finite
    return ((row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u) ^ uint64_t(line)) & 0x3FFF3FFF3FFF3FFFu;
  }
  TRANSLOAD_WARP uint64_t at(int line, uint64_t i) const { return (uint64_t(line) * slots + i % slots) * row_bytes; }
  TRANSLOAD_WARP Word free_from(uint64_t i) const { return i < slots ? 0 : i + 1 - slots; }

  template <class A>
  TRANSLOAD_WARP void produce(A& a, int line) const {
    char* const sources = a.own(kSourcesAt + at(line, 0), slots * row_bytes);
    for (uint64_t i = 0; i < rows && a.await(a.mine(100 + line), free_from(i), 1, Waiting::kCredit); ++i) {
      char* const source = sources + i % slots * row_bytes;
      a.lanes(uint32_t(row_bytes / 8), [&](uint32_t k) { reinterpret_cast<Word*>(source)[k] = value(line, i, k); });
      a.wrote();
      char* const to = a.room(1) + at(line, i);
      a.w.scatter({source, row_bytes, nullptr, 0}, Set::only(0), [&](Lane) { return Destination{to, nullptr, false}; });
      a.publish(1, line, i + 1);
    }
    a.w.settle();
  }
  template <class A>
  TRANSLOAD_WARP void forward(A& a, int line) const {
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
      a.publish(0, 200 + line, i + 1);
      a.credit(0, 100 + line, i + 1);
    }
    a.w.settle();
  }
  template <class A>
  TRANSLOAD_WARP void consume(A& a, int line) const {
    for (uint64_t i = 0; i < rows && a.await(a.mine(200 + line), i + 1, 1); ++i) {
      const Word* const row = reinterpret_cast<const Word*>(a.room(0) + kArrivalsAt + at(line, i));
      a.lanes(uint32_t(row_bytes / 8), [&](uint32_t k) { a.tally.eq(a.w.peek(row + k), value(line, i, k), __LINE__); });
      a.credit(1, 300 + line, i + 1);
    }
    a.w.settle();
  }
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    if (a.side == 1)
      forward(a, a.number);
    else if (a.number % 2 == 0)
      produce(a, a.number / 2);
    else
      consume(a, a.number / 2);
    a.tally.eq(a.w.failed(), false, __LINE__);
  }
};
template <class S>
void forward_rung(S& stage) {
  constexpr int kLines = ForwardRung::kLines;
  for (uint32_t every : {1, 8})
    for (uint64_t slots : {1, 2, 16})
      for (uint32_t row_bytes : {64, 4112, 14336})
        for (bool sums : {false, true}) {
          stage.clear();
          const ForwardRung rung{slots, stage.scaled(1000), row_bytes, sums};
          typename S::Setting setting;
          setting.publish_every = setting.credit_every = every;
          if (sums)
            stage.template play<typename S::Reduce>(rung, {2 * kLines, kLines}, setting);
          else
            stage.template play<typename S::Scatter>(rung, {2 * kLines, kLines}, setting);
          for (int line = 0; line < kLines; ++line) {
            stage.ledger.eq(stage.word(0, 200 + line), rung.rows, "rows that arrived");
            stage.ledger.eq(stage.word(0, 100 + line), rung.rows, "slots that were freed");
          }
        }
}

struct MarksRung {
  static constexpr int kWords = 300;
  bool credits;
  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const typename A::Members all = A::Members::first(kWords);
    for (Word count = 1; count < 4; ++count) {
      auto mark = [&](Lane l) { return Mark<PeerWord>{{a.word(1, l.i), 1}, count * 1000 + Word(l.i)}; };
      if (credits)
        a.w.credit(all, mark);
      else
        a.w.publish(all, mark);
    }
    a.w.settle();
  }
};
template <class S>
void marks_rung(S& stage) {
  for (bool credits : {false, true})
    for (uint32_t every : {1, 2, 1000}) {
      stage.clear();
      typename S::Setting setting;
      setting.publish_every = setting.credit_every = every;
      stage.template play<typename S::Scatter>(MarksRung{credits}, {1, 0}, setting);
      for (int i = 0; i < MarksRung::kWords; ++i)
        stage.ledger.eq(stage.word(1, i), Word(3000 + i), "word " + std::to_string(i));
    }
}

}  // namespace transload::rungs
