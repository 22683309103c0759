// Rung 3: scatter and copy bring exactly their bytes, of any size, to all their places.
#pragma once
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/ladder/rungs/agent.h"

namespace transload::rungs {

struct ScatterCase {
  uint32_t row_bytes, extra_bytes, tail_shift;  // the tail lies so far off 16 bytes, at both ends
  int to;                                       // side

  static constexpr int kPlaces = 5, kBare = 3;  // this place takes the row alone
  static constexpr size_t kPlacesAt = 1 << 20, kTailAt = 1 << 16;
  TRANSLOAD_HD size_t pitch() const { return (row_bytes + tail_shift + extra_bytes + 32 + 15) / 16 * 16; }

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    const Set set{0x00010111u | 1u << 31};
    auto place = a.w.template per<int>(set, [&](Lane l) { return Set{set.bits & ((1u << l.i) - 1)}.count(); });
    char* const first = a.room(to) + kPlacesAt;
    a.w.scatter({a.room(0), row_bytes, a.room(0) + kTailAt + tail_shift, extra_bytes}, set, [&](Lane l) -> Destination {
      char* const at = first + pitch() * size_t(place[l]);
      return {at, place[l] == kBare ? nullptr : at + row_bytes + tail_shift, l.i % 2 == 0};
    });
    a.w.settle();
  }
};

template <class Pipe, class S>
void scatter_once(S& stage, const ScatterCase& c, const std::vector<char>& source, uint32_t piece_bytes) {
  constexpr char kFill = 0x77;
  const size_t pitch = c.pitch(), all = pitch * ScatterCase::kPlaces;
  std::vector<char> expected(all, kFill);
  for (int i = 0; i < ScatterCase::kPlaces; ++i) {
    char* const at = expected.data() + pitch * size_t(i);
    std::memcpy(at, source.data(), c.row_bytes);
    if (i != ScatterCase::kBare)
      std::memcpy(at + c.row_bytes + c.tail_shift, source.data() + ScatterCase::kTailAt + c.tail_shift, c.extra_bytes);
  }
  const std::vector<char> blank(all, kFill);
  stage.write(c.to, ScatterCase::kPlacesAt, blank.data(), all);
  typename S::Setting setting;
  setting.piece_bytes = piece_bytes;
  stage.template play<Pipe>(c, {1, 0}, setting);
  stage.ledger.bytes(stage.read(c.to, ScatterCase::kPlacesAt, all).data(), expected.data(), all,
                     "scatter of " + std::to_string(c.row_bytes) + " + " + std::to_string(c.extra_bytes) +
                         " bytes to side " + std::to_string(c.to) + ", pieces of " + std::to_string(piece_bytes));
}

inline std::vector<char> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<char> bytes(count);
  for (char& b : bytes) b = char(random());
  return bytes;
}

template <class S>
void scatter_rung(S& stage) {
  const std::vector<char> source = random_bytes(ScatterCase::kTailAt + 16384, 3);
  stage.write(0, 0, source.data(), source.size());
  for (uint32_t row_bytes : {16, 48, 64, 80, 512, 4112, 14336, 40960})
    for (uint32_t extra_bytes : {0, 4, 16, 20, 112, 508, 1024, 12288})
      for (uint32_t shift : {0, 4})
        for (int to : {0, 1}) {
          if (shift != 0 && extra_bytes == 0) continue;
          const ScatterCase c{row_bytes, extra_bytes, shift, to};
          for (uint32_t piece : S::kPieces) scatter_once<typename S::Scatter>(stage, c, source, piece);
          if constexpr (!std::is_same_v<typename S::Scatter, typename S::Reduce>)
            scatter_once<typename S::Reduce>(stage, c, source, 4096);
        }
}

// The three pieces of tokens, each kind close together: scales of all sizes, off 16 bytes too, ride or go apart.
struct ScalesCase {
  uint32_t row_bytes, scale_bytes, shift;  // the scales lie so far off 16 bytes at their source
  int to;                                  // side

  static constexpr int kPlaces = 3, kNoScales = 1, kNoTail = 2;
  static constexpr uint32_t kTailBytes = 48;
  static constexpr size_t kTailAt = 1 << 16, kScalesAt = 1 << 17, kPlacesAt = 1 << 20;
  TRANSLOAD_HD size_t tails_at() const { return size_t(kPlaces) * row_bytes; }
  TRANSLOAD_HD size_t scales_at() const { return tails_at() + size_t(kPlaces) * kTailBytes; }
  TRANSLOAD_HD size_t bytes() const { return scales_at() + size_t(kPlaces) * scale_bytes + 16; }

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    char* const first = a.room(to) + kPlacesAt;
    const TokenPieces pieces{a.room(0),  row_bytes, a.room(0) + kTailAt, kTailBytes, a.room(0) + kScalesAt + shift,
                             scale_bytes};
    a.w.scatter(pieces, Set::first(kPlaces), [&](Lane l) -> Destination {
      return {first + size_t(l.i) * row_bytes, l.i == kNoTail ? nullptr : first + tails_at() + size_t(l.i) * kTailBytes,
              false, l.i == kNoScales ? nullptr : first + scales_at() + size_t(l.i) * scale_bytes};
    });
    a.w.settle();
  }
};

template <class Pipe, class S>
void scales_once(S& stage, const ScalesCase& c, const std::vector<char>& source, const typename S::Setting& setting) {
  const std::vector<char> blank(c.bytes(), 0x77);
  std::vector<char> expected = blank;
  for (int i = 0; i < ScalesCase::kPlaces; ++i) {
    const size_t place = size_t(i);
    std::memcpy(expected.data() + place * c.row_bytes, source.data(), c.row_bytes);
    if (i != ScalesCase::kNoTail)
      std::memcpy(expected.data() + c.tails_at() + place * c.kTailBytes, source.data() + c.kTailAt, c.kTailBytes);
    if (i != ScalesCase::kNoScales)
      std::memcpy(expected.data() + c.scales_at() + place * c.scale_bytes, source.data() + c.kScalesAt + c.shift,
                  c.scale_bytes);
  }
  stage.write(c.to, ScalesCase::kPlacesAt, blank.data(), blank.size());
  stage.template play<Pipe>(c, {1, 0}, setting);
  stage.ledger.bytes(stage.read(c.to, ScalesCase::kPlacesAt, c.bytes()).data(), expected.data(), c.bytes(),
                     "scatter of " + std::to_string(c.row_bytes) + " bytes and " + std::to_string(c.scale_bytes) +
                         " of scales to side " + std::to_string(c.to) + ", pieces of " +
                         std::to_string(setting.piece_bytes));
}

template <class S>
void scales_rung(S& stage) {
  const std::vector<char> source = random_bytes(ScalesCase::kScalesAt + 16384 + 16, 6);
  stage.write(0, 0, source.data(), source.size());
  for (uint32_t row_bytes : {16, 592, 7168, 14336})
    for (uint32_t scale_bytes : {0, 4, 12, 16, 224, 228, 1024, 16384})
      for (uint32_t shift : {0, 4})
        for (int to : {0, 1})
          for (uint32_t piece : S::kPieces) {
            typename S::Setting setting;
            setting.piece_bytes = piece;
            const ScalesCase c{row_bytes, scale_bytes, shift, to};
            scales_once<typename S::Scatter>(stage, c, source, setting);
            if constexpr (!std::is_same_v<typename S::Scatter, typename S::Reduce>)
              if (piece == 4096) scales_once<typename S::Reduce>(stage, c, source, setting);
          }
}

// Many scatters of changing sizes, without a wait between them: stages and positions go round.
struct ScattersRung {
  static constexpr int kMoves = 96, kSizes = 7;
  static constexpr uint32_t kPitch = 48 << 10, kTailBytes = 48;
  static constexpr size_t kPlacesAt = 1 << 20;
  TRANSLOAD_HD static uint32_t row_bytes(int move) {
    constexpr uint32_t kRowBytes[kSizes] = {16, 14336, 64, 4096, 4112, 40960, 512};
    return kRowBytes[move % kSizes];
  }
  TRANSLOAD_HD static uint32_t from(int move) { return uint32_t(move) * 4096; }
  int to;

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    for (int k = 0; k < kMoves; ++k) {
      const char* const row = a.room(0) + from(k);
      a.w.scatter({row, row_bytes(k), row + row_bytes(k), kTailBytes}, Set::first(2), [&](Lane l) -> Destination {
        char* const at = a.room(to) + kPlacesAt + size_t(2 * k + l.i) * kPitch;
        return {at, l.i == k % 2 ? nullptr : at + row_bytes(k), false};
      });
    }
    a.w.settle();
  }
};
template <class S>
void scatters_rung(S& stage) {
  using R = ScattersRung;
  const std::vector<char> source = random_bytes(R::from(R::kMoves) + R::kPitch, 4);
  for (int to : {0, 1}) {
    stage.fill(to, 0x55, R::kPlacesAt + size_t(2 * R::kMoves) * R::kPitch);
    stage.write(0, 0, source.data(), source.size());
    std::vector<char> expected(size_t(2 * R::kMoves) * R::kPitch, 0x55);
    for (int k = 0; k < R::kMoves; ++k)
      for (int l = 0; l < 2; ++l)
        std::memcpy(expected.data() + size_t(2 * k + l) * R::kPitch, source.data() + R::from(k),
                    R::row_bytes(k) + (l == k % 2 ? 0 : R::kTailBytes));
    stage.template play<typename S::Scatter>(R{to}, {1, 0});
    stage.ledger.bytes(stage.read(to, R::kPlacesAt, expected.size()).data(), expected.data(), expected.size(),
                       "scatters in a row to side " + std::to_string(to));
  }
}

struct CopyCase {
  int members, to;
  uint32_t piece;  // bytes
  static constexpr size_t kPlacesAt = 1 << 20;

  template <class A>
  TRANSLOAD_WARP void operator()(A& a) const {
    typename A::Members some = A::Members::first(members);
    some.remove(0);
    a.w.copy(some, [&](Lane l) {
      return Piece{a.room(to) + kPlacesAt + size_t(l.i) * piece, a.room(0) + size_t(l.i) * piece, piece};
    });
    a.w.settle();
  }
};
template <class S>
void copy_rung(S& stage) {
  const std::vector<char> source = random_bytes(130 * 272, 5);
  stage.write(0, 0, source.data(), source.size());
  for (int members : {1, 32, 33, 65, 130})
    for (uint32_t piece : {4, 12, 16, 40, 272})
      for (int to : {0, 1}) {
        const size_t all = size_t(members) * piece;
        std::vector<char> expected(all + 16, 0x33);
        stage.write(to, CopyCase::kPlacesAt, expected.data(), expected.size());
        if (members > 1) std::memcpy(expected.data() + piece, source.data() + piece, all - piece);
        stage.template play<typename S::Scatter>(CopyCase{members, to, piece}, {1, 0});
        stage.ledger.bytes(stage.read(to, CopyCase::kPlacesAt, expected.size()).data(), expected.data(),
                           expected.size(), "copies of " + std::to_string(piece) + " bytes");
      }
}

}  // namespace transload::rungs
