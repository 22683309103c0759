// Rung 4: sums in the contract's order, to the bit.
#pragma once
#include <bit>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "base/float.h"
#include "base/scalar.h"
#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

// This file knows two types.
static_assert(kTwoScalars);

struct ReduceCase {
  uint32_t elements;
  Sum sum;
  Scalar row, partial, out;
  int biases, rows_at;  // the side that has the rows
  bool staged;

  static constexpr int kTimes = 4;  // in a row
  static constexpr size_t kBiasAt = 2 << 20, kIntoAt = 4 << 20;
  TRANSLOAD_HD size_t pitch() const { return (size_t(elements) * 4 + 15) / 16 * 16; }
  TRANSLOAD_HD size_t out_pitch() const { return pitch() + 16; }

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const char* const bias = a.room(0) + kBiasAt;
    const SumShape shape{
        elements, row, partial, out, {biases > 0 ? bias : nullptr, biases > 1 ? bias + pitch() : nullptr}, staged};
    for (int k = 0; k < kTimes; ++k)
      a.w.reduce(a.room(0) + kIntoAt + size_t(k) * out_pitch(), shape, sum,
                 [&](Lane l) { return a.room(rows_at) + size_t(l.i) * pitch(); });
    a.w.settle();
  }
};

// Rows of all lanes and the biases, as their type wants, and what a sum of them must be.
class SumRoom {
 public:
  explicit SumRoom(uint32_t elements) : elements_(elements), values_((kSetMax + 2) * size_t(elements)) {
    std::mt19937 random(elements);
    constexpr uint32_t kSpecial[] = {0x80000000, 0x00000000, 0x7F800000, 0xFF800000, 0x7FC12345 & 0xFFFF0000,
                                     0xFF810000, 0x00010000, 0x807F0000, 0x7F7F0000, 0x3F800000};
    // Magnitudes far apart, so that another order gives other bits; here and there what is no ordinary number.
    for (uint32_t& bits : values_) {
      bits = (100 + random() % 56) << 23 | (random() & 0x807F0000);
      if (random() % 64 == 0) bits = kSpecial[random() % std::size(kSpecial)];
    }
    // Whole columns of -0, and of nothing but special values.
    for (size_t row = 0; row < kSetMax + 2; ++row) {
      values_[row * elements] = 0x80000000;
      values_[row * elements + 1] = kSpecial[random() % std::size(kSpecial)];
    }
  }

  // fp32 as it is; bf16 is its upper half: no value here has lower bits, but for fp32, which gets some.
  uint32_t bits(size_t row, size_t i, Scalar type) const {
    const uint32_t b = values_[row * elements_ + i];
    const bool plain = (b & 0x7FFFFFFF) != 0 && (b & 0x7F800000) != 0x7F800000;
    return type == Scalar::kF32 && plain ? b | uint32_t(row * 977 + i * 31) % 0xFFFF : b;
  }
  std::vector<char> row_bytes(size_t row, Scalar type) const {
    std::vector<char> bytes(elements_ * scalar_bytes(type));
    for (size_t i = 0; i < elements_; ++i) {
      const uint32_t b = bits(row, i, type);
      const uint16_t half = uint16_t(b >> 16);
      if (type == Scalar::kF32)
        std::memcpy(&bytes[i * 4], &b, 4);
      else
        std::memcpy(&bytes[i * 2], &half, 2);
    }
    return bytes;
  }
  template <class S>
  void upload(S& stage, const ReduceCase& c) const {
    for (size_t l = 0; l < kSetMax + 2; ++l) {
      const bool bias = l >= kSetMax, partial = !bias && !c.sum.here.has(int(l));
      const std::vector<char> bytes = row_bytes(l, partial ? c.partial : c.row);
      if (bias)
        stage.write(0, ReduceCase::kBiasAt + (l - kSetMax) * c.pitch(), bytes.data(), bytes.size());
      else if ((c.sum.before | c.sum.here | c.sum.after).has(int(l)))
        stage.write(c.rows_at, l * c.pitch(), bytes.data(), bytes.size());
    }
  }
  float value(size_t row, size_t i, Scalar type) const { return std::bit_cast<float>(bits(row, i, type)); }

  std::vector<char> expected(const ReduceCase& c) const {
    std::vector<char> out(c.out_pitch(), 0x11);
    for (size_t i = 0; i < elements_; ++i) {
      float total = c.biases > 0 ? value(kSetMax, i, c.row) : 0.0f;
      if (c.biases > 1) total += value(kSetMax + 1, i, c.row);
      const auto add = [&](Set set, float& to, Scalar type) {
        for (int l = 0; l < kSetMax; ++l)
          if (set.has(l)) to += value(size_t(l), i, type);
      };
      add(c.sum.before, total, c.partial);
      float here = 0.0f;
      add(c.sum.here, here, c.row);
      if (!c.sum.here.empty()) total += here;
      add(c.sum.after, total, c.partial);
      const float f32 = f32_stored(total);
      const uint16_t bf16 = bf16_from_f32(total);
      if (c.out == Scalar::kF32)
        std::memcpy(&out[i * 4], &f32, 4);
      else
        std::memcpy(&out[i * 2], &bf16, 2);
    }
    return out;
  }

 private:
  const size_t elements_;
  std::vector<uint32_t> values_;
};

template <class Pipe, class S>
void reduce_once(S& stage, const SumRoom& room, const ReduceCase& c) {
  const std::vector<char> once = room.expected(c), blank(once.size() * ReduceCase::kTimes, 0x11);
  stage.write(0, ReduceCase::kIntoAt, blank.data(), blank.size());
  stage.template play<Pipe>(c, {1, 0});
  const std::vector<char> seen = stage.read(0, ReduceCase::kIntoAt, blank.size());
  for (int k = 0; k < ReduceCase::kTimes; ++k)
    stage.ledger.bytes(seen.data() + size_t(k) * once.size(), once.data(), once.size(),
                       "sum " + std::to_string(k) + " of " + std::to_string(c.elements) + " elements, sets " +
                           std::to_string(c.sum.before.bits) + " " + std::to_string(c.sum.here.bits) + " " +
                           std::to_string(c.sum.after.bits) + ", " + std::to_string(c.biases) + " biases, types " +
                           std::to_string(int(c.row)) + std::to_string(int(c.partial)) + std::to_string(int(c.out)));
}

template <class S>
void reduce_rung(S& stage) {
  constexpr Scalar kB = Scalar::kBf16, kF = Scalar::kF32;
  constexpr Scalar kTypes[][3] = {{kB, kB, kB}, {kB, kF, kB}, {kB, kF, kF}, {kB, kB, kF}, {kF, kF, kF}};
  const Sum sums[] = {{{}, Set{0x3}, {}},
                      {Set{0x11}, Set{0xF00}, Set{0x80000000u}},
                      {{}, {}, Set{0xFF}},
                      {Set{1}, {}, {}},
                      {Set{1}, Set{6}, {}},
                      {Set{0x7}, Set{0x8}, {}},
                      {{}, Set::first(32), {}},
                      {Set{0xFFFF}, Set{0xFF0000}, Set{0xFF000000u}},
                      {{}, {}, {}},
                      {{}, Set{0x10}, {}},
                      {{}, Set{0x1001}, Set{0x2}},
                      {{}, Set{0x33}, {}},
                      {{}, Set{0x80000000u}, Set{0x7F}}};
  for (uint32_t elements : {8, 12, 24, 256, 520, 7168}) {
    if (elements > S::kElementsMost) continue;
    const SumRoom room(elements);
    for (const auto& t : kTypes)
      for (const Sum& sum : sums)
        for (int biases : {0, 1, 2})
          for (bool staged : S::kStaged) {
            const ReduceCase c{elements, sum, t[0], t[1], t[2], biases, biases == 1 ? S::kUncounted : 0, staged};
            room.upload(stage, c);
            reduce_once<typename S::Reduce>(stage, room, c);
            if constexpr (!std::is_same_v<typename S::Scatter, typename S::Reduce>)
              reduce_once<typename S::Scatter>(stage, room, c);
          }
  }
}

}  // namespace transload::rungs
