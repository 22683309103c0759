// Sums in near memory: pieces of all rows of a sum side by side in a stage, loaded by the bulk copy engine, added in
// the contract's order, and stored by plain stores.
//
// Order: layout of a stage is the order of the sum: biases, before, here, after.
#pragma once
#include <cuda_bf16.h>

#include "executor/cuda/stages.cuh"
#include "protocol/warp.h"

namespace transload {

constexpr uint32_t kNanBitsF32 = 0x7FFFFFFF;
constexpr int kVector = 8;  // elements that a lane adds at a time

TRANSLOAD_HD constexpr uint32_t scalar_bytes(Scalar s) { return s == Scalar::kF32 ? 4 : 2; }

// One vector of bf16.
TRANSLOAD_DEVICE void add_bf16(float (&sum)[kVector], const uint4& row) {
  const uint32_t pairs[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sum[2 * j] += __uint_as_float(pairs[j] << 16);
    sum[2 * j + 1] += __uint_as_float(pairs[j] & 0xffff0000u);
  }
}
TRANSLOAD_DEVICE void add_f32(float (&sum)[kVector], const char* at) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float4 v = reinterpret_cast<const float4*>(at)[half];
    sum[4 * half] += v.x;
    sum[4 * half + 1] += v.y;
    sum[4 * half + 2] += v.z;
    sum[4 * half + 3] += v.w;
  }
}

TRANSLOAD_DEVICE void fill(float (&sum)[kVector], float value) {
#pragma unroll
  for (int j = 0; j < kVector; ++j) sum[j] = value;
}

TRANSLOAD_DEVICE float canonical(float value) { return value == value ? value : __uint_as_float(kNanBitsF32); }

// Rounded to nearest even, a NaN canonical: what the conversion instruction gives.
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
  bool row_f32, part_f32, out_f32;

  TRANSLOAD_DEVICE int rows() const { return biases + before + here + after; }
  TRANSLOAD_DEVICE uint32_t row_bytes() const { return row_f32 ? 4 : 2; }
  TRANSLOAD_DEVICE uint32_t part_bytes() const { return part_f32 ? 4 : 2; }
  TRANSLOAD_DEVICE uint32_t out_bytes() const { return out_f32 ? 4 : 2; }
  // -0 leaves the first bias as it is, a -0 too; without biases a sum starts from +0.
  TRANSLOAD_DEVICE float start() const { return biases > 0 ? -0.0f : 0.0f; }
  // Of one element of all rows.
  TRANSLOAD_DEVICE uint32_t element_bytes() const {
    return uint32_t(biases + here) * row_bytes() + uint32_t(before + after) * part_bytes();
  }
  // All bf16, and the order is one row after another. `here` is summed by itself, from +0: that shows behind other rows
  // if it has several, and behind a bias even if it has one, for a -0 becomes +0.
  TRANSLOAD_DEVICE bool flat() const {
    const bool in_a_row = biases > 0 ? here == 0 : before == 0 || here <= 1;
    return !row_f32 && !part_f32 && !out_f32 && in_a_row;
  }
  TRANSLOAD_DEVICE uint32_t pack() const {
    return uint32_t(before) | uint32_t(here) << 6 | uint32_t(after) << 12 | uint32_t(biases) << 18 |
           uint32_t(row_f32) << 20 | uint32_t(part_f32) << 21 | uint32_t(out_f32) << 22;
  }
  TRANSLOAD_DEVICE static SumRows unpack(uint32_t p) {
    return {int(p >> 18 & 3),   int(p & 63),        int(p >> 6 & 63),  int(p >> 12 & 63),
            (p >> 20 & 1) != 0, (p >> 21 & 1) != 0, (p >> 22 & 1) != 0};
  }
};

constexpr uint32_t kStep = 32 * 16;  // bytes of bf16 that a warp adds at a time

// kAhead vectors of kRows rows of bf16: all loads come before the first sum.
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

// `kRows` rows of bf16, one after another from `near` on, `pitch` bytes each.
template <int kRows>
TRANSLOAD_DEVICE void sum_rows(uint32_t near, char* to, uint32_t pitch, float start) {
  constexpr int kAhead = kRows <= 2 ? 4 : kRows <= 4 ? 2 : 1;
  uint32_t v = uint32_t(lane_of_thread()) * 16;
  for (; v + (kAhead - 1) * kStep < pitch; v += kStep * kAhead)
    sum_vectors<kRows, kAhead>(near + v, to + v, pitch, start);
  for (; v < pitch; v += kStep) sum_vectors<kRows, 1>(near + v, to + v, pitch, start);
}

// `elements` of each row lie one row after another from `from` on.
struct StagedSum {
  // Any number of rows, four at a time.
  __device__ __noinline__ static void flat(uint32_t near, char* to, uint32_t pitch, uint32_t packed) {
    const SumRows counts = SumRows::unpack(packed);
    for (uint32_t v = uint32_t(lane_of_thread()) * 16; v < pitch; v += 512) {
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

  __device__ __noinline__ static void nested(const char* from, char* to, uint32_t elements, uint32_t packed) {
    const SumRows rows = SumRows::unpack(packed);
    for (uint32_t e = uint32_t(lane_of_thread()) * kVector; e < elements; e += 32 * kVector) {
      float sum[kVector], node[kVector];
      fill(sum, rows.start());
      fill(node, 0.0f);
      const char* at = from;
      auto add = [&](float(&into)[kVector], int count, bool f32) {
        for (int r = 0; r < count; ++r, at += elements * (f32 ? 4 : 2)) {
          if (f32)
            add_f32(into, at + e * 4);
          else
            add_bf16(into, *reinterpret_cast<const uint4*>(at + e * 2));
        }
      };
      add(sum, rows.biases, rows.row_f32);
      add(sum, rows.before, rows.part_f32);
      add(node, rows.here, rows.row_f32);
      if (rows.here > 0) {
#pragma unroll
        for (int j = 0; j < kVector; ++j) sum[j] += node[j];
      }
      add(sum, rows.after, rows.part_f32);
      if (rows.out_f32)
        store_f32(to + e * 4, sum);
      else
        store_bf16(to + e * 2, sum);
    }
  }
};

// What a lane has to do with a sum: the row that it loads, and where that lies among the others.
struct SumLane {
  const char* row;  // null: none
  uint32_t place;   // bytes before it in the stage, for each element of a row
  uint32_t bytes;   // of an element
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

  // Adds and stores the oldest piece. kHot: sums of few rows in line, because a call waits for all loads in flight.
  template <bool kHot = false>
  TRANSLOAD_DEVICE void finish_one() {
    const uint32_t s = stages_.done % kStages;
    stages_.await(s);
    const uint32_t packed = rows_.get(s);
    const SumRows rows = SumRows::unpack(packed);
    if (rows.flat())
      add_flat<kHot>(s, rows, packed);
    else
      StagedSum::nested(stages_.at(s), to_.get(s), elements_.get(s), packed);
    __syncwarp();
    ++stages_.done;
  }

  // Sums `elements` (a multiple of kVector) of the lanes' rows, and of the biases, into `into`.
  template <class Step>
  TRANSLOAD_DEVICE void sum(char* into, const SumShape& shape, const SumRows& rows, const SumLane& mine, Step step) {
    const uint32_t elements = uint32_t(shape.elements), piece = piece_of(elements, rows.element_bytes());
    for (uint32_t at = 0; at < elements; at += piece) {
      const uint32_t n = elements - at < piece ? elements - at : piece;
      while (stages_.issued - stages_.done == kStages) step();
      issue(shape, rows, mine, {at, n});
      const uint32_t s = stages_.issued % kStages;
      to_.set(s, into + uint64_t(at) * rows.out_bytes());
      elements_.set(s, n);
      rows_.set(s, rows.pack());
      ++stages_.issued;
    }
  }

 private:
  template <bool kHot>
  TRANSLOAD_DEVICE void add_flat(uint32_t s, const SumRows& rows, uint32_t packed) const {
    const uint32_t near = ptx::near_address(stages_.at(s)), pitch = elements_.get(s) * 2;
    char* const to = to_.get(s);
    if constexpr (kHot) {
      switch (rows.rows()) {
        case 1:
          return sum_rows<1>(near, to, pitch, rows.start());
        case 2:
          return sum_rows<2>(near, to, pitch, rows.start());
        case 3:
          return sum_rows<3>(near, to, pitch, rows.start());
        case 4:
          return sum_rows<4>(near, to, pitch, rows.start());
        case 8:
          return sum_rows<8>(near, to, pitch, rows.start());
        default:
          break;
      }
    }
    StagedSum::flat(near, to, pitch, packed);
  }
  struct Range {
    uint32_t at, elements;
  };

  // Elements of a piece: all pieces alike, the rows of one side by side within a stage; whole lines, unless the rows
  // are so many that a line of each does not fit.
  TRANSLOAD_DEVICE uint32_t even_piece_of(uint32_t elements, uint32_t element_bytes) const {
    const uint32_t fit = element_bytes == 0 ? 4096 : stage_bytes_ / element_bytes, unit = fit < 64 ? kVector : 64;
    const uint32_t most = fit / unit * unit, pieces = (elements + most - 1) / most;
    return ((elements + pieces - 1) / pieces + unit - 1) / unit * unit;
  }
  // The same, without divisions for most sums: lane l keeps what l rows of bf16 make.
  TRANSLOAD_DEVICE uint32_t piece_of(uint32_t elements, uint32_t element_bytes) {
    if (elements != elements_of_lanes_) {
      elements_of_lanes_ = elements;
      piece_of_lane_ = even_piece_of(elements, 2 * uint32_t(lane_of_thread()));
    }
    if (element_bytes >= 64) return even_piece_of(elements, element_bytes);
    return __shfl_sync(kAllLanes, piece_of_lane_, int(element_bytes / 2));
  }
  TRANSLOAD_DEVICE void issue(const SumShape& shape, const SumRows& rows, const SumLane& mine, const Range& range) {
    const uint32_t s = stages_.issued % kStages;
    uint64_t* const barrier = stages_.barriers + s;
    if (lane_of_thread() == 0) ptx::barrier_expect(barrier, range.elements * rows.element_bytes());
    __syncwarp();
    if (mine.row != nullptr)
      ptx::bulk_load(stages_.at(s) + mine.place * range.elements, mine.row + uint64_t(range.at) * mine.bytes,
                     range.elements * mine.bytes, barrier);
    __syncwarp();
    if (lane_of_thread() < rows.biases) {
      const uint32_t bytes = rows.row_bytes();
      const char* const bias = rows.biases == 1 && shape.bias[0] == nullptr ? shape.bias[1]
                               : lane_of_thread() == 0                      ? shape.bias[0]
                                                                            : shape.bias[1];
      ptx::bulk_load(stages_.at(s) + uint32_t(lane_of_thread()) * bytes * range.elements,
                     bias + uint64_t(range.at) * bytes, range.elements * bytes, barrier);
    }
    __syncwarp();
  }

  Stages stages_;
  const uint32_t stage_bytes_;
  uint32_t elements_of_lanes_ = 0, piece_of_lane_ = 0;
  ByStage<char*> to_;
  ByStage<uint32_t> elements_, rows_;
};

}  // namespace transload
