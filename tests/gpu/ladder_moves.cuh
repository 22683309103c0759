// Rungs 1 to 4 on CudaWarp: sets, values, moves, sums.
#pragma once
#include <iterator>
#include <random>

#include "base/float.h"
#include "gpu/agents.cuh"

namespace transload::gpu {

// Rung 1: each, where, turns and once visit the right lanes.
struct SetsRung {
  template <class W, class S, class Present>
  TRANSLOAD_DEVICE static void visits(Agent<W>& a, const S& set, int span, Present present) {
    auto visits = a.w.template table<uint32_t>(span, [](Lane) { return 0u; });
    a.w.each(set, [&](Lane l) { visits[l] += 1; });
    int before = -1, turns = 0, count = 0, descents = 0;
    a.w.turns(set, [&](int i) {
      descents += i <= before || !present(i);
      before = i;
      ++turns;
    });
    const S odd = a.w.where(set, [](Lane l) { return l.i % 2 == 1; });
    for (int i = 0; i < span; ++i) {
      a.tally.eq(visits[i], present(i) ? 1 : 0, __LINE__);
      a.tally.eq(set.has(i), present(i), __LINE__);
      a.tally.eq(odd.has(i), present(i) && i % 2 == 1, __LINE__);
      count += present(i);
    }
    a.tally.eq(turns, count, __LINE__);
    a.tally.eq(descents, 0, __LINE__);
    a.tally.eq(set.count(), count, __LINE__);
    a.tally.eq(set.empty(), count == 0, __LINE__);
    a.tally.eq(a.w.where(set, [](Lane) { return false; }).empty(), true, __LINE__);
  }
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    for (int n = 0; n <= kSetMax; ++n) visits(a, Set::first(n), kSetMax, [&](int i) { return i < n; });
    visits(a, Set{0x80000001u}, kSetMax, [](int i) { return i == 0 || i == 31; });
    for (int n : {0, 1, 32, 33, 64, 65, 130, 1024}) {
      visits(a, CudaMembers::first(n), n, [&](int i) { return i < n; });
      if (n <= 2) continue;
      CudaMembers some = CudaMembers::first(n);
      some.remove(n - 1);
      some.remove(1);
      visits(a, some, n, [&](int i) { return i < n - 1 && i != 1; });
      some.add(1);
      visits(a, some, n, [&](int i) { return i < n - 1; });
      visits(a, CudaMembers::only(n - 1), n, [&](int i) { return i == n - 1; });
    }
    a.w.once([&] { *a.mine(0) += 1; });
    a.tally.eq(a.w.peek(a.mine(0)), 1, __LINE__);
  }
};
inline void sets_rung(Stage& stage) { stage.play<ScatterPipe>(SetsRung{}, {1, 0}); }

// Rung 2: a value for each lane, one for each member; near memory comes back.
struct ValuesRung {
  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const Set set{0xA0000005u};
    auto p = a.w.template per<int>(set, [](Lane l) { return l.i + 100; });
    for (int i = 0; i < kSetMax; ++i) a.tally.eq(a.w.pick(p, i), set.has(i) ? i + 100 : 0, __LINE__);
    auto copy = p;
    a.w.each(set, [&](Lane l) { copy[l] = 1; });
    a.tally.eq(a.w.pick(p, 31), 131, __LINE__);
    a.tally.eq(a.w.pick(copy, 31), 1, __LINE__);
    for (int n : {1, 33, 65, 130, 1024}) {
      auto wide = a.w.template table<Word>(n, [](Lane l) { return Word(l.i); });
      auto narrow = a.w.template table<uint8_t>(n, [](Lane l) { return uint8_t(l.i * 3); });
      a.w.each(CudaMembers::first(n), [&](Lane l) { wide[l] += 7; });
      for (int i = 0; i < n; ++i) {
        a.tally.eq(a.w.pick(wide, i), Word(i) + 7, __LINE__);
        a.tally.eq(narrow[i], uint8_t(i * 3), __LINE__);
      }
      __syncwarp();  // all have read before the next tables are written
    }
    for (int turn = 0; turn < 2000; ++turn) {
      auto low = a.w.template table<Word>(1024, [&](Lane) { return Word(turn); });
      auto high = a.w.template table<Word>(1024, [&](Lane) { return Word(turn) + 1; });
      a.tally.eq(low[1023] + 1, high[0], __LINE__);
      __syncwarp();
    }
  }
};
inline void values_rung(Stage& stage) { stage.play<ScatterPipe>(ValuesRung{}, {1, 0}); }

// Rung 3: scatter and copy bring exactly their bytes, of any size, to all their places.
struct ScatterCase {
  uint32_t row_bytes, extra_bytes, tail_shift;  // the tail lies so far off 16 bytes, at both ends
  int to;                                       // side

  static constexpr int kPlaces = 5, kBare = 3;  // this place takes the row alone
  static constexpr size_t kPlacesAt = 1 << 20, kTailAt = 1 << 16;
  TRANSLOAD_HD size_t pitch() const { return (row_bytes + tail_shift + extra_bytes + 32 + 15) / 16 * 16; }

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
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

template <class Pipe>
void scatter_once(Stage& stage, const ScatterCase& c, const std::vector<char>& source, uint32_t piece_bytes) {
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
  Setting setting;
  setting.piece_bytes = piece_bytes;
  stage.play<Pipe>(c, {1, 0}, setting);
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

inline void scatter_rung(Stage& stage) {
  const std::vector<char> source = random_bytes(ScatterCase::kTailAt + 16384, 3);
  stage.write(0, 0, source.data(), source.size());
  for (uint32_t row_bytes : {16, 48, 64, 80, 512, 4112, 14336, 40960})
    for (uint32_t extra_bytes : {0, 4, 16, 20, 112, 508, 1024, 12288})
      for (uint32_t shift : {0, 4})
        for (int to : {0, 1}) {
          if (shift != 0 && extra_bytes == 0) continue;
          const ScatterCase c{row_bytes, extra_bytes, shift, to};
          for (uint32_t piece : {256, 4096, 8192}) scatter_once<ScatterPipe>(stage, c, source, piece);
          scatter_once<ReducePipe>(stage, c, source, 4096);
        }
}

// The three parts of tokens, each kind close together: scales of all sizes, off 16 bytes too, ride or go apart.
struct ScalesCase {
  uint32_t row_bytes, scale_bytes, shift;  // the scales lie so far off 16 bytes at their source
  int to;                                  // side

  static constexpr int kPlaces = 3, kNoScales = 1, kNoTail = 2;
  static constexpr uint32_t kTailBytes = 48;
  static constexpr size_t kTailAt = 1 << 16, kScalesAt = 1 << 17, kPlacesAt = 1 << 20;
  TRANSLOAD_HD size_t tails_at() const { return size_t(kPlaces) * row_bytes; }
  TRANSLOAD_HD size_t scales_at() const { return tails_at() + size_t(kPlaces) * kTailBytes; }
  TRANSLOAD_HD size_t bytes() const { return scales_at() + size_t(kPlaces) * scale_bytes + 16; }

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    char* const first = a.room(to) + kPlacesAt;
    const TokenPieces parts{a.room(0),  row_bytes, a.room(0) + kTailAt, kTailBytes, a.room(0) + kScalesAt + shift,
                            scale_bytes};
    a.w.scatter(parts, Set::first(kPlaces), [&](Lane l) -> Destination {
      return {first + size_t(l.i) * row_bytes, l.i == kNoTail ? nullptr : first + tails_at() + size_t(l.i) * kTailBytes,
              false, l.i == kNoScales ? nullptr : first + scales_at() + size_t(l.i) * scale_bytes};
    });
    a.w.settle();
  }
};

template <class Pipe>
void scales_once(Stage& stage, const ScalesCase& c, const std::vector<char>& source, const Setting& setting) {
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
  stage.play<Pipe>(c, {1, 0}, setting);
  stage.ledger.bytes(stage.read(c.to, ScalesCase::kPlacesAt, c.bytes()).data(), expected.data(), c.bytes(),
                     "scatter of " + std::to_string(c.row_bytes) + " bytes and " + std::to_string(c.scale_bytes) +
                         " of scales to side " + std::to_string(c.to) + ", pieces of " +
                         std::to_string(setting.piece_bytes));
}

inline void scales_rung(Stage& stage) {
  const std::vector<char> source = random_bytes(ScalesCase::kScalesAt + 16384 + 16, 6);
  stage.write(0, 0, source.data(), source.size());
  for (uint32_t row_bytes : {16, 592, 7168, 14336})
    for (uint32_t scale_bytes : {0, 4, 12, 16, 224, 228, 1024, 16384})
      for (uint32_t shift : {0, 4})
        for (int to : {0, 1})
          for (uint32_t piece : {256, 4096, 8192}) {
            Setting setting;
            setting.piece_bytes = piece;
            const ScalesCase c{row_bytes, scale_bytes, shift, to};
            scales_once<ScatterPipe>(stage, c, source, setting);
            if (piece == 4096) scales_once<ReducePipe>(stage, c, source, setting);
          }
}

// Many scatters of changing sizes, without a wait between them: stages and positions go round.
struct ScattersRung {
  static constexpr int kMoves = 96, kSizes = 7;
  static constexpr uint32_t kPitch = 48 << 10, kTailBytes = 48;
  static constexpr size_t kPlacesAt = 8 << 20;
  TRANSLOAD_HD static uint32_t row_bytes(int move) {
    constexpr uint32_t kRowBytes[kSizes] = {16, 14336, 64, 4096, 4112, 40960, 512};
    return kRowBytes[move % kSizes];
  }
  TRANSLOAD_HD static uint32_t from(int move) { return uint32_t(move) * 4096; }
  int to;

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
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
inline void scatters_rung(Stage& stage) {
  using R = ScattersRung;
  const std::vector<char> source = random_bytes(R::from(R::kMoves) + R::kPitch, 4);
  for (int to : {0, 1}) {
    stage.fill(to, 0x55, kRoomBytes);
    stage.write(0, 0, source.data(), source.size());
    std::vector<char> expected(size_t(2 * R::kMoves) * R::kPitch, 0x55);
    for (int k = 0; k < R::kMoves; ++k)
      for (int l = 0; l < 2; ++l)
        std::memcpy(expected.data() + size_t(2 * k + l) * R::kPitch, source.data() + R::from(k),
                    R::row_bytes(k) + (l == k % 2 ? 0 : R::kTailBytes));
    stage.play<ScatterPipe>(R{to}, {1, 0});
    stage.ledger.bytes(stage.read(to, R::kPlacesAt, expected.size()).data(), expected.data(), expected.size(),
                       "scatters in a row to side " + std::to_string(to));
  }
}

struct CopyCase {
  int members, to;
  uint32_t piece;  // bytes
  static constexpr size_t kPlacesAt = 1 << 20;

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    CudaMembers some = CudaMembers::first(members);
    some.remove(0);
    a.w.copy(some, [&](Lane l) {
      return Piece{a.room(to) + kPlacesAt + size_t(l.i) * piece, a.room(0) + size_t(l.i) * piece, piece};
    });
    a.w.settle();
  }
};
inline void copy_rung(Stage& stage) {
  const std::vector<char> source = random_bytes(130 * 272, 5);
  stage.write(0, 0, source.data(), source.size());
  for (int members : {1, 32, 33, 65, 130})
    for (uint32_t piece : {4, 12, 16, 40, 272})
      for (int to : {0, 1}) {
        const size_t all = size_t(members) * piece;
        std::vector<char> expected(all + 16, 0x33);
        stage.write(to, CopyCase::kPlacesAt, expected.data(), expected.size());
        if (members > 1) std::memcpy(expected.data() + piece, source.data() + piece, all - piece);
        stage.play<ScatterPipe>(CopyCase{members, to, piece}, {1, 0});
        stage.ledger.bytes(stage.read(to, CopyCase::kPlacesAt, expected.size()).data(), expected.data(),
                           expected.size(), "copies of " + std::to_string(piece) + " bytes");
      }
}

// Rung 4: sums in the contract's order, to the bit.
struct ReduceCase {
  uint32_t elements;
  Sum sum;
  Scalar row, part, out;
  int biases, rows_at;  // the side that has the rows

  static constexpr int kTimes = 4;  // in a row
  static constexpr size_t kBiasAt = 2 << 20, kIntoAt = 4 << 20;
  TRANSLOAD_HD static size_t bytes_of(Scalar s) { return s == Scalar::kF32 ? 4 : 2; }
  TRANSLOAD_HD size_t pitch() const { return (size_t(elements) * 4 + 15) / 16 * 16; }
  TRANSLOAD_HD size_t out_pitch() const { return pitch() + 16; }

  template <class W>
  TRANSLOAD_DEVICE void operator()(Agent<W>& a) const {
    const char* const bias = a.room(0) + kBiasAt;
    const SumShape shape{elements, row, part, out, {biases > 0 ? bias : nullptr, biases > 1 ? bias + pitch() : nullptr},
                         false};
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
    std::vector<char> bytes(elements_ * ReduceCase::bytes_of(type));
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
  void upload(Stage& stage, const ReduceCase& c) const {
    for (size_t l = 0; l < kSetMax + 2; ++l) {
      const bool bias = l >= kSetMax, part = !bias && !c.sum.here.has(int(l));
      const std::vector<char> bytes = row_bytes(l, part ? c.part : c.row);
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
      add(c.sum.before, total, c.part);
      float here = 0.0f;
      add(c.sum.here, here, c.row);
      if (!c.sum.here.empty()) total += here;
      add(c.sum.after, total, c.part);
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

template <class Pipe>
void reduce_once(Stage& stage, const SumRoom& room, const ReduceCase& c) {
  const std::vector<char> once = room.expected(c), blank(once.size() * ReduceCase::kTimes, 0x11);
  stage.write(0, ReduceCase::kIntoAt, blank.data(), blank.size());
  stage.play<Pipe>(c, {1, 0});
  const std::vector<char> seen = stage.read(0, ReduceCase::kIntoAt, blank.size());
  for (int k = 0; k < ReduceCase::kTimes; ++k)
    stage.ledger.bytes(seen.data() + size_t(k) * once.size(), once.data(), once.size(),
                       "sum " + std::to_string(k) + " of " + std::to_string(c.elements) + " elements, sets " +
                           std::to_string(c.sum.before.bits) + " " + std::to_string(c.sum.here.bits) + " " +
                           std::to_string(c.sum.after.bits) + ", " + std::to_string(c.biases) + " biases, types " +
                           std::to_string(int(c.row)) + std::to_string(int(c.part)) + std::to_string(int(c.out)));
}

inline void reduce_rung(Stage& stage) {
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
    const SumRoom room(elements);
    for (const auto& t : kTypes)
      for (const Sum& sum : sums)
        for (int biases : {0, 1, 2}) {
          const ReduceCase c{elements, sum, t[0], t[1], t[2], biases, biases % 2};
          room.upload(stage, c);
          reduce_once<ReducePipe>(stage, room, c);
          reduce_once<ScatterPipe>(stage, room, c);
        }
  }
}

}  // namespace transload::gpu
