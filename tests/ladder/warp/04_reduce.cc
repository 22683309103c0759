// Rung 4: reduce sums in the contract's order: bias, lower nodes, mine by itself, higher nodes; lanes ascending.
#include <bit>
#include <random>

#include "base/float.h"
#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung04Reduce : public ::testing::Test {};
TYPED_TEST_SUITE(Rung04Reduce, EveryWarp, NameOfRanks);

float plain(const std::vector<std::vector<uint16_t>>& rows, const Sum& sum, const std::vector<uint16_t>* bias,
            size_t i) {
  float total = bias != nullptr ? f32_from_bf16((*bias)[i]) : 0.0f;
  for (int l = 0; l < kSetMax; ++l)
    if (sum.before.has(l)) total += f32_from_bf16(rows[size_t(l)][i]);
  float here = 0.0f;
  for (int l = 0; l < kSetMax; ++l)
    if (sum.here.has(l)) here += f32_from_bf16(rows[size_t(l)][i]);
  if (!sum.here.empty()) total += here;
  for (int l = 0; l < kSetMax; ++l)
    if (sum.after.has(l)) total += f32_from_bf16(rows[size_t(l)][i]);
  return total;
}

// Contract 3.1.
TYPED_TEST(Rung04Reduce, TheContractsOrder) {
  TypeParam ranks(1);
  std::mt19937 random(4);
  for (size_t elements : {8, 24, 256, 7168}) {
    std::vector<std::vector<uint16_t>> rows(kSetMax, std::vector<uint16_t>(elements));
    std::vector<uint16_t> bias(elements);
    // Magnitudes far apart, so that another order gives other bits.
    for (auto& row : rows)
      for (auto& v : row) v = uint16_t((100 + random() % 56) << 7 | (random() & 0x807F));
    for (auto& v : bias) v = uint16_t((100 + random() % 56) << 7 | (random() & 0x807F));
    for (const Sum sum : {Sum{{}, Set{0x3}, {}}, Sum{Set{0x11}, Set{0xF00}, Set{0x80000000u}}, Sum{{}, {}, Set{0xFF}},
                          Sum{Set{1}, {}, {}}, Sum{{}, Set::first(32), {}}, Sum{{}, {}, {}}}) {
      for (bool staged : {false, true}) {
        for (const std::vector<uint16_t>* b : {static_cast<std::vector<uint16_t>*>(nullptr), &bias}) {
          std::vector<uint16_t> into(elements + 8, 0x1234);
          run_one(ranks, [&](typename TypeParam::Warp& w) {
            const SumShape shape{elements,
                                 Scalar::kBf16,
                                 Scalar::kBf16,
                                 Scalar::kBf16,
                                 {b != nullptr ? reinterpret_cast<const char*>(b->data()) : nullptr, nullptr},
                                 staged};
            w.reduce(reinterpret_cast<char*>(into.data()), shape, sum,
                     [&](Lane l) { return reinterpret_cast<const char*>(rows[size_t(l.i)].data()); });
            w.settle();
          });
          for (size_t i = 0; i < elements; ++i)
            ASSERT_EQ(into[i], bf16_from_f32(plain(rows, sum, b, i))) << i << " of " << elements;
          for (size_t i = elements; i < into.size(); ++i) ASSERT_EQ(into[i], 0x1234);
        }
      }
    }
  }
}

}  // namespace
}  // namespace transload::ladder
