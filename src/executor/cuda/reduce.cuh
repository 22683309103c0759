// Sums in near memory: pieces of all rows of a sum side by side in a stage, loaded by the bulk copy engine, added in
// the contract's order, and stored by plain stores.
//
// The rows of a stage lie in the order of the sum: biases, before, here, after.
#pragma once
#include <cuda_bf16.h>

#include "base/float.h"
#include "executor/cuda/stages.cuh"
#include "protocol/warp.h"

namespace transload {

constexpr int kVector = 8;  // elements that a lane adds at a time

// `row` is a vector of bf16.
TRANSLOAD_DEVICE void add_bf16(float (&sum)[kVector], const uint4& row) {
  const uint32_t pairs[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sum[2 * j] += __uint_as_float(pairs[j] << 16);
    sum[2 * j + 1] += __uint_as_float(pairs[j] & 0xffff0000u);
  }
}
TRANSLOAD_DEVICE void add_f32(float (&sum)[kVector], uint32_t near) {
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint4 v = ptx::near_load128(near + 16 * half);
    sum[4 * half] += __uint_as_float(v.x);
    sum[4 * half + 1] += __uint_as_float(v.y);
    sum[4 * half + 2] += __uint_as_float(v.z);
    sum[4 * half + 3] += __uint_as_float(v.w);
  }
}

TRANSLOAD_DEVICE void fill(float (&sum)[kVector], float value) {
#pragma unroll
  for (int j = 0; j < kVector; ++j) sum[j] = value;
}

TRANSLOAD_DEVICE float canonical(float value) { return value == value ? value : __uint_as_float(kNanF32); }

// The conversion instruction rounds to nearest even and makes a NaN canonical, as the contract asks.
TRANSLOAD_DEVICE void store_bf16(char* to, const float (&sum)[kVector]) {
  uint4 out;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&out);
#pragma unroll
  for (int j = 0; j < 4; ++j) pairs[j] = __floats2bfloat162_rn(sum[2 * j], sum[2 * j + 1]);
  *reinterpret_cast<uint4*>(to) = out;
}
TRANSLOAD_DEVICE void store_f32(char* to, const float (&sum)[kVector]) {
#pragma unroll
  for (int half = 0; half < 2; ++half)
    reinterpret_cast<float4*>(to)[half] = {canonical(sum[4 * half]), canonical(sum[4 * half + 1]),
                                           canonical(sum[4 * half + 2]), canonical(sum[4 * half + 3])};
}

// How many rows of each kind a sum has, and how wide they are.
struct SumRows {
  int biases, before, here, after;
  Scalar row, partial, out;

  TRANSLOAD_DEVICE int rows() const { return biases + before + here + after; }
  TRANSLOAD_DEVICE uint32_t row_bytes() const { return scalar_bytes(row); }
  TRANSLOAD_DEVICE uint32_t partial_bytes() const { return scalar_bytes(partial); }
  TRANSLOAD_DEVICE uint32_t out_bytes() const { return scalar_bytes(out); }
  // -0 leaves the first bias as it is, a -0 too; without biases a sum starts from +0.
  TRANSLOAD_DEVICE float start() const { return biases > 0 ? -0.0f : 0.0f; }
  // Bytes that one element takes of all rows together.
  TRANSLOAD_DEVICE uint32_t element_bytes() const {
    return uint32_t(biases + here) * row_bytes() + uint32_t(before + after) * partial_bytes();
  }
  // True if all rows are bf16 and adding them from left to right gives the contract's sum. The contract sums `here`
  // apart, from +0. This makes a difference if other rows precede `here` and `here` has several; after a bias even one
  // row makes it, because a -0 in the row becomes +0.
  TRANSLOAD_DEVICE bool flat() const {
    const bool in_a_row = biases > 0 ? here == 0 : before == 0 || here <= 1;
    return row == Scalar::kBf16 && partial == Scalar::kBf16 && out == Scalar::kBf16 && in_a_row;
  }
  TRANSLOAD_DEVICE uint32_t pack() const {
    static_assert(kTwoScalars);
    return uint32_t(before) | uint32_t(here) << 6 | uint32_t(after) << 12 | uint32_t(biases) << 18 |
           uint32_t(row) << 20 | uint32_t(partial) << 21 | uint32_t(out) << 22;
  }
  TRANSLOAD_DEVICE static SumRows unpack(uint32_t p) {
    return {.biases = int(p >> 18 & 3),
            .before = int(p & 63),
            .here = int(p >> 6 & 63),
            .after = int(p >> 12 & 63),
            .row = Scalar(p >> 20 & 1),
            .partial = Scalar(p >> 21 & 1),
            .out = Scalar(p >> 22 & 1)};
  }
};

constexpr uint32_t kStep = 32 * 16;  // bytes of bf16 that a warp adds at a time

// Sums kAhead vectors of kRows rows of bf16. All loads come before the first sum.
template <int kRows, int kAhead>
TRANSLOAD_DEVICE void sum_vectors(uint32_t near, char* to, uint32_t pitch, float start) {
  uint4 rows[kAhead][kRows];
#pragma unroll
  for (int a = 0; a < kAhead; ++a)
#pragma unroll
    for (int r = 0; r < kRows; ++r) rows[a][r] = ptx::near_load128(near + r * pitch + a * kStep);
#pragma unroll
  for (int a = 0; a < kAhead; ++a) {
    float sum[kVector];
    fill(sum, start);
#pragma unroll
    for (int r = 0; r < kRows; ++r) add_bf16(sum, rows[a][r]);
    store_bf16(to + a * kStep, sum);
  }
}

// Rows of bf16 in near memory, `pitch` bytes each, and where their sum goes.
struct NearRows {
  uint32_t near;
  char* to;
  uint32_t pitch;
  float start;
};

// Adds from the lane's byte v on: as many vectors at once as fit, then half as many.
template <int kRows, int kAhead>
TRANSLOAD_DEVICE void sum_from(uint32_t v, const NearRows& rows) {
  for (; v + (kAhead - 1) * kStep < rows.pitch; v += kStep * kAhead)
    sum_vectors<kRows, kAhead>(rows.near + v, rows.to + v, rows.pitch, rows.start);
  if constexpr (kAhead > 1) sum_from<kRows, kAhead / 2>(v, rows);
}

// Sums kRows rows of bf16, which lie one after another from `near` on, `pitch` bytes each.
template <int kRows>
TRANSLOAD_DEVICE void sum_rows(uint32_t near, char* to, uint32_t pitch, float start) {
  sum_from<kRows, kRows <= 2 ? 4 : kRows <= 4 ? 2 : 1>(uint32_t(lane_of_thread()) * 16, {near, to, pitch, start});
}

// Sums any number of rows that lie one after another in a stage. add() is not inlined, because a warp finishes moves in
// many places.
struct StagedSum {
  uint32_t near;
  char* to;
  uint32_t elements, packed;

  __device__ __noinline__ static void add(StagedSum sum) {
    if (SumRows::unpack(sum.packed).flat())
      sum.flat();
    else
      sum.nested();
  }

 private:
  // Loads four rows at a time.
  TRANSLOAD_DEVICE void flat() const {
    const SumRows counts = SumRows::unpack(packed);
    const uint32_t pitch = elements * 2;
    for (uint32_t v = uint32_t(lane_of_thread()) * 16; v < pitch; v += kStep) {
      float sum[kVector];
      fill(sum, counts.start());
      for (int first = 0; first < counts.rows(); first += 4) {
        uint4 rows[4];
#pragma unroll
        for (int r = 0; r < 4; ++r)
          if (first + r < counts.rows()) rows[r] = ptx::near_load128(near + uint32_t(first + r) * pitch + v);
#pragma unroll
        for (int r = 0; r < 4; ++r)
          if (first + r < counts.rows()) add_bf16(sum, rows[r]);
      }
      store_bf16(to + v, sum);
    }
  }

  TRANSLOAD_DEVICE void nested() const {
    static_assert(kTwoScalars);
    const SumRows rows = SumRows::unpack(packed);
    for (uint32_t e = uint32_t(lane_of_thread()) * kVector; e < elements; e += 32 * kVector) {
      float sum[kVector], node[kVector];
      fill(sum, rows.start());
      fill(node, 0.0f);
      uint32_t at = near;
      auto add = [&](float(&into)[kVector], int count, Scalar type) {
        for (int r = 0; r < count; ++r, at += elements * scalar_bytes(type)) {
          if (type == Scalar::kF32)
            add_f32(into, at + e * 4);
          else
            add_bf16(into, ptx::near_load128(at + e * 2));
        }
      };
      add(sum, rows.biases, rows.row);
      add(sum, rows.before, rows.partial);
      add(node, rows.here, rows.row);
      if (rows.here > 0) {
#pragma unroll
        for (int j = 0; j < kVector; ++j) sum[j] += node[j];
      }
      add(sum, rows.after, rows.partial);
      if (rows.out == Scalar::kF32)
        store_f32(to + e * 4, sum);
      else
        store_bf16(to + e * 2, sum);
    }
  }
};

// What a lane has to do with a sum: the row that it loads, and where that lies among the others.
struct SumLane {
  const char* row;  // null: the lane loads no row
  uint32_t place;   // bytes before the row in the stage, for each element of a row
  uint32_t bytes;   // bytes of an element
};

class ReducePipe {
 public:
  static constexpr int kLandedAfter = 0;  // plain stores: a release orders them

  TRANSLOAD_DEVICE ReducePipe(const Stages& stages, const NearShape& shape)
      : stages_(stages), stage_bytes_(shape.stage_bytes) {
    stages_.begin();
  }

  TRANSLOAD_DEVICE uint32_t issued() const { return stages_.issued; }
  TRANSLOAD_DEVICE uint32_t done() const { return stages_.done; }
  template <int kMoves>
  TRANSLOAD_DEVICE void wait_landed() const {}

  // Adds and stores the oldest piece. With kHot sums of few rows are inlined, because a call would wait for all loads
  // in flight.
  template <bool kHot = false>
  TRANSLOAD_DEVICE void finish_one() {
    const uint4 kept = stages_.kept(stages_.oldest);
    const StagedSum sum{stages_.at(stages_.oldest), reinterpret_cast<char*>(uint64_t(kept.y) << 32 | kept.x), kept.z,
                        kept.w};
    stages_.await_oldest();
    if constexpr (kHot)
      add_hot(sum);
    else
      StagedSum::add(sum);
    __syncwarp();
    stages_.finish();
  }

  // Sums `elements` (a multiple of kVector) of the lanes' rows, and of the biases, into `into`.
  template <class Step>
  TRANSLOAD_DEVICE void sum(char* into, const SumShape& shape, const SumRows& rows, const SumLane& mine, Step step) {
    const uint32_t elements = uint32_t(shape.elements), each = rows.element_bytes();
    const uint32_t piece = piece_of(elements, each), packed = rows.pack() | hot_rows(rows) << kHotShift;
    const char* row = mine.row;
    for (uint32_t at = 0; at < elements; at += piece) {
      const uint32_t n = elements - at < piece ? elements - at : piece;
      while (stages_.full()) step();
      const uint32_t s = stages_.next;
      const auto to = reinterpret_cast<uint64_t>(into);
      stages_.keep(s, {uint32_t(to), uint32_t(to >> 32), n, packed});
      if (lane_of_thread() == 0) ptx::barrier_expect(stages_.barrier(s), n * each);
      __syncwarp();
      if (row != nullptr) {
        ptx::bulk_load(stages_.at(s) + mine.place * n, row, n * mine.bytes, stages_.barrier(s));
        row += n * mine.bytes;
      }
      if (rows.biases > 0) load_biases(shape, rows, {at, n});
      __syncwarp();
      into += n * rows.out_bytes();
      stages_.move_on();
    }
  }

 private:
  static constexpr uint32_t kHotShift = 24;
  // How many rows there are, if their sum is inlined; else 0.
  TRANSLOAD_DEVICE static uint32_t hot_rows(const SumRows& rows) {
    const int count = rows.rows();
    return rows.flat() && (count <= 4 || count == 8) ? uint32_t(count) : 0;
  }
  TRANSLOAD_DEVICE static void add_hot(const StagedSum& sum) {
    const uint32_t pitch = sum.elements * 2;
    const float start = SumRows::unpack(sum.packed).start();
    switch (sum.packed >> kHotShift) {
      case 1:
        return sum_rows<1>(sum.near, sum.to, pitch, start);
      case 2:
        return sum_rows<2>(sum.near, sum.to, pitch, start);
      case 3:
        return sum_rows<3>(sum.near, sum.to, pitch, start);
      case 4:
        return sum_rows<4>(sum.near, sum.to, pitch, start);
      case 8:
        return sum_rows<8>(sum.near, sum.to, pitch, start);
      default:
        return StagedSum::add(sum);
    }
  }

  // How many elements of every row go into one stage, so that all pieces of a sum are about equally long. It is a
  // multiple of 64 (a line of bf16), or of kVector if 64 elements of each row do not fit.
  TRANSLOAD_DEVICE uint32_t even_piece_of(uint32_t elements, uint32_t element_bytes) const {
    const uint32_t fit = element_bytes == 0 ? 4096 : stage_bytes_ / element_bytes, unit = fit < 64 ? kVector : 64;
    const uint32_t most = fit / unit * unit, pieces = (elements + most - 1) / most;
    return ((elements + pieces - 1) / pieces + unit - 1) / unit * unit;
  }
  // Returns what even_piece_of() does, without its divisions in most sums: lane l keeps the result for l rows of bf16.
  TRANSLOAD_DEVICE uint32_t piece_of(uint32_t elements, uint32_t element_bytes) {
    if (elements != elements_of_lanes_) {
      elements_of_lanes_ = elements;
      piece_of_lane_ = even_piece_of(elements, 2 * uint32_t(lane_of_thread()));
    }
    if (element_bytes >= 64) return even_piece_of(elements, element_bytes);
    return __shfl_sync(kAllLanes, piece_of_lane_, int(element_bytes / 2));
  }

  struct BiasRange {
    uint32_t at, elements;
  };
  TRANSLOAD_DEVICE void load_biases(const SumShape& shape, const SumRows& rows, const BiasRange& range) const {
    const uint32_t lane = uint32_t(lane_of_thread()), bytes = rows.row_bytes();
    if (lane >= uint32_t(rows.biases)) return;
    const char* const bias = lane == 1 || shape.bias[0] == nullptr ? shape.bias[1] : shape.bias[0];
    ptx::bulk_load(stages_.at(stages_.next) + lane * bytes * range.elements, bias + uint64_t(range.at) * bytes,
                   range.elements * bytes, stages_.barrier(stages_.next));
  }

  Stages stages_;
  const uint32_t stage_bytes_;
  uint32_t elements_of_lanes_ = 0, piece_of_lane_ = 0;
};

}  // namespace transload
