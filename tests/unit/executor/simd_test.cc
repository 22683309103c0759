// The kernels against plain loops, on every target that this CPU has; the rounding for all 2^32 floats.
#include "executor/simd/simd.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "base/float.h"
#include "executor/fiber/sanitizer.h"

namespace transload {
namespace {

std::vector<const simd::Kernels*> targets() {
  const simd::Kernels* list[3];
  const int count = simd::kernels_here(list);
  return {list, list + count};
}

// This file knows two types.
static_assert(kTwoScalars);

float value_at(const char* row, size_t i, Scalar type) {
  float value;
  if (type == Scalar::kF32) {
    std::memcpy(&value, row + i * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, row + i * 2, 2);
  return f32_from_bf16(half);
}

// The contract's words, one after another.
float plain_sum(const simd::SumJob& job, size_t i) {
  float sum = 0.0f;
  if (job.bias[0] != nullptr && job.bias[1] != nullptr) {
    sum = value_at(job.bias[0], i, job.row) + value_at(job.bias[1], i, job.row);
  } else if (job.bias[0] != nullptr) {
    sum = value_at(job.bias[0], i, job.row);
  }
  for (int r = 0; r < job.before.count; ++r) sum = sum + value_at(job.before.at[r], i, job.partial);
  float here = 0.0f;
  for (int r = 0; r < job.here.count; ++r) here = here + value_at(job.here.at[r], i, job.row);
  if (job.here.count > 0) sum = sum + here;
  for (int r = 0; r < job.after.count; ++r) sum = sum + value_at(job.after.at[r], i, job.partial);
  return sum;
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t below(uint32_t n) { return uint32_t(engine_() % n); }
  // Mostly near one another; now and then a denormal, -0, an infinity, a NaN with a payload, or any bits.
  uint32_t f32_bits() {
    switch (below(16)) {
      case 0:
        return below(2) << 31;
      case 1:
        return below(0x800000) | below(2) << 31;
      case 2:
        return 0x7F800000u | below(2) << 31;
      case 3:
        return 0x7F800001u + below(0x7FFFFE) + (below(2) << 31);
      case 4:
        return uint32_t(engine_());
      case 5:
        return 0x7F7FFFFFu - below(8);
      default:
        return (120 + below(16)) << 23 | below(0x800000) | below(2) << 31;
    }
  }

 private:
  std::mt19937 engine_;
};

struct Case {
  size_t elements, shift;  // shift: elements by which every row is off a line
  Scalar row, partial, out;
  bool streamed;
  int before, here, after, biases;
};

class SumTest : public ::testing::Test {
 protected:
  const char* make(Scalar type, const Case& c) {
    const size_t width = scalar_bytes(type);
    char* row =
        static_cast<char*>(std::aligned_alloc(64, (c.elements + c.shift) * width / 64 * 64 + 128)) + c.shift * width;
    bases_.push_back(row - c.shift * width);
    for (size_t i = 0; i < c.elements; ++i) {
      const uint32_t bits = random_.f32_bits();
      const uint16_t half = uint16_t(bits >> 16);
      std::memcpy(row + i * width, type == Scalar::kF32 ? static_cast<const void*>(&bits) : &half, width);
    }
    return row;
  }

  std::vector<const char*> make_rows(int count, Scalar type, const Case& c) {
    std::vector<const char*> rows;
    for (int r = 0; r < count; ++r) rows.push_back(make(type, c));
    return rows;
  }

  void check(const simd::Kernels& target, const Case& c) {
    const auto before = make_rows(c.before, c.partial, c), here = make_rows(c.here, c.row, c);
    const auto after = make_rows(c.after, c.partial, c), bias = make_rows(c.biases, c.row, c);
    const size_t width = scalar_bytes(c.out);
    std::vector<char> room(c.elements * width + 512, char(0xA5));
    char* const into = room.data() + 64 - reinterpret_cast<uintptr_t>(room.data()) % 64 + c.shift * width;
    simd::SumJob job{into,
                     c.elements,
                     {before.data(), c.before},
                     {here.data(), c.here},
                     {after.data(), c.after},
                     {c.biases > 0 ? bias[0] : nullptr, c.biases > 1 ? bias[1] : nullptr},
                     c.row,
                     c.partial,
                     c.out,
                     c.streamed};
    target.sum_rows(job);
    simd::stream_fence();
    for (size_t i = 0; i < c.elements; ++i) {
      const float sum = plain_sum(job, i);
      uint32_t want = std::bit_cast<uint32_t>(f32_stored(sum)), got = 0;
      if (c.out == Scalar::kBf16) want = bf16_from_f32(sum);
      std::memcpy(&got, into + i * width, width);
      ASSERT_EQ(got, want) << target.name << " element " << i << " of " << c.elements << " shift " << c.shift;
    }
    for (const char* p = room.data(); p < into; ++p) ASSERT_EQ(*p, char(0xA5));
    for (const char* p = into + c.elements * width; p < room.data() + room.size(); ++p) ASSERT_EQ(*p, char(0xA5));
    for (char* base : bases_) std::free(base);
    bases_.clear();
  }

  std::vector<char*> bases_;
  Random random_{7};
};

// Contract 3.5.
TEST_F(SumTest, AgreesWithThePlainLoopForAnyShape) {
  for (const simd::Kernels* target : targets()) {
    for (int turn = 0; turn < 600; ++turn) {
      Case c{};
      c.elements = turn % 3 == 0 ? 8 * (1 + random_.below(300)) : 1 + random_.below(400);
      c.shift = random_.below(3) == 0 ? 8 * random_.below(8) : (random_.below(2) != 0 ? random_.below(32) : 0);
      c.row = Scalar(random_.below(3) == 0);
      c.partial = Scalar(random_.below(2) == 0);
      c.out = Scalar(random_.below(3) == 0);
      c.streamed = random_.below(2) == 0;
      c.before = int(random_.below(4));
      c.here = int(random_.below(turn % 7 == 0 ? 33 : 9));
      c.after = int(random_.below(4));
      c.biases = int(random_.below(3));
      check(*target, c);
      if (HasFatalFailure()) return;
    }
  }
}

// Contract 3.1.
TEST_F(SumTest, TheOrderOfTheSumIsTheContracts) {
  // 2^24 + 1 + 1 in fp32 is 2^24, but 2^24 + (1 + 1) is not: `here` is summed by itself.
  const float big = 16777216.0f, one = 1.0f;
  const char *before[] = {reinterpret_cast<const char*>(&big)},
             *here[] = {reinterpret_cast<const char*>(&one), reinterpret_cast<const char*>(&one)};
  for (const simd::Kernels* target : targets()) {
    float into = 0;
    target->sum_rows({reinterpret_cast<char*>(&into),
                      1,
                      {before, 1},
                      {here, 2},
                      {nullptr, 0},
                      {nullptr, nullptr},
                      Scalar::kF32,
                      Scalar::kF32,
                      Scalar::kF32,
                      false});
    EXPECT_EQ(into, 16777218.0f);
    target->sum_rows({reinterpret_cast<char*>(&into),
                      1,
                      {before, 1},
                      {nullptr, 0},
                      {here, 2},
                      {nullptr, nullptr},
                      Scalar::kF32,
                      Scalar::kF32,
                      Scalar::kF32,
                      false});
    EXPECT_EQ(into, 16777216.0f);
  }
}

// Contract 3.4.
TEST(Rounding, AllFloatsToBf16) {
  const bool all_of_them = !TRANSLOAD_ASAN && !TRANSLOAD_TSAN && std::getenv("TRANSLOAD_QUICK") == nullptr;
  const uint64_t stride = all_of_them ? 1 : 251;
  constexpr size_t kBatch = 1 << 16;
  std::vector<uint32_t> in(kBatch);
  std::vector<uint16_t> out(kBatch), want(kBatch);
  const auto all = targets();
  for (uint64_t next = 0; next < uint64_t(1) << 32;) {
    for (size_t i = 0; i < kBatch; ++i) in[i] = uint32_t(next + i * stride);
    for (size_t i = 0; i < kBatch; ++i) want[i] = bf16_from_f32(std::bit_cast<float>(in[i]));
    // A bias alone is rounded once and nothing is added to it.
    for (const simd::Kernels* target : all) {
      if (all.size() > 1 && target == all[0] && (next >> 16) % 16 != 0) continue;  // plain loops, like this test itself
      target->sum_rows({reinterpret_cast<char*>(out.data()),
                        kBatch,
                        {nullptr, 0},
                        {nullptr, 0},
                        {nullptr, 0},
                        {reinterpret_cast<const char*>(in.data()), nullptr},
                        Scalar::kF32,
                        Scalar::kF32,
                        Scalar::kBf16,
                        false});
      ASSERT_TRUE(out == want) << target->name << " in the batch from " << next;
    }
    next += kBatch * stride;
  }
}

TEST(StreamCopy, AnySizeAndAddress) {
  std::mt19937 engine(11);
  std::vector<char> from(20000), to(20000);
  for (char& c : from) c = char(engine());
  for (const simd::Kernels* target : targets()) {
    for (int turn = 0; turn < 2000; ++turn) {
      const size_t bytes = turn % 2 == 0 ? engine() % 700 : 16 * (engine() % 1000);
      const size_t a = turn % 3 == 0 ? engine() % 100 : 16 * (engine() % 8),
                   b = turn % 3 == 1 ? engine() % 100 : 16 * (engine() % 8);
      std::fill(to.begin(), to.end(), char(0x5A));
      target->stream_copy(to.data() + a, from.data() + b, bytes);
      simd::stream_fence();
      ASSERT_EQ(std::memcmp(to.data() + a, from.data() + b, bytes), 0)
          << target->name << " " << bytes << " " << a << " " << b;
      for (size_t i = 0; i < a; ++i) ASSERT_EQ(to[i], char(0x5A));
      for (size_t i = a + bytes; i < to.size(); ++i) ASSERT_EQ(to[i], char(0x5A));
    }
  }
}

}  // namespace
}  // namespace transload
