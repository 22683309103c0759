// Where the tensors of a call may lie: aligned, within the address space, and in a lease to be pulled from.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

#include "runtime/call/check_inputs.h"
#include "runtime/rank_state.h"
#include "tests/support/refusal.h"

namespace transload {
namespace {

GroupOptions small_options() {
  GroupOptions o;
  o.topology.node_sizes = {1};
  o.experts = 8;
  o.scales_max = 2;
  return o;
}

class OperandPlaces : public testing::Test {
 protected:
  OperandPlaces() : state_(small_options()) {
    state_.arena = std::make_shared<Arena>(slab_, sizeof slab_, nullptr);
    in_.x = matrix(x_, kTokens, 16, kBf16);
    in_.topk_idx = matrix(ids_, kTokens, 2, kI32);
    in_.topk_weights = matrix(weights_, kTokens, 2, kF32);
  }
  std::string refusal() const {
    return test::refusal([&] { check_dispatch(state_, in_); });
  }
  // What is said of scales at an address, which nothing here follows.
  std::string refusal_of_scales(uintptr_t at, int64_t stride) {
    in_.scales = matrix(reinterpret_cast<void*>(at), kTokens, 2, kF32);
    in_.scales.strides[0] = stride;
    return refusal();
  }

  static constexpr int64_t kTokens = 4;
  RankState state_;
  DispatchInputs in_;
  alignas(128) char slab_[1024];
  alignas(16) uint16_t x_[kTokens * 16] = {};
  int32_t ids_[kTokens * 2] = {};
  float weights_[kTokens * 2] = {};
  float scales_[kTokens * 2] = {};
};

TEST_F(OperandPlaces, AlignedAsTheirElements) {
  EXPECT_EQ(refusal(), "");
  const auto at = reinterpret_cast<uintptr_t>(scales_);
  EXPECT_EQ(refusal_of_scales(at, 2), "");
  EXPECT_EQ(refusal_of_scales(at + 2, 2), "scales: address " + std::to_string(at + 2) + ", must be aligned to 4 bytes");
}

TEST_F(OperandPlaces, WithinTheAddressSpace) {
  EXPECT_EQ(refusal_of_scales(24, -2), "");
  EXPECT_EQ(refusal_of_scales(20, -2), "scales: strides [-2, 1] of [4, 2], must be within the address space");
  EXPECT_EQ(refusal_of_scales(UINTPTR_MAX - 35, 2), "");
  EXPECT_EQ(refusal_of_scales(UINTPTR_MAX - 27, 2),
            "scales: strides [2, 1] of [4, 2], must be within the address space");
  for (const int64_t stride : {INT64_MAX, INT64_MIN}) EXPECT_NE(refusal_of_scales(4096, stride), "") << stride;
}

// Without rows there is nothing to read.
TEST_F(OperandPlaces, PulledFromLeasesAndFromNothing) {
  CombineInputs in;
  in.x = matrix(x_, 0, 16, kBf16);
  EXPECT_TRUE(can_be_pulled(state_, in));
  in.x = matrix(x_, 1, 16, kBf16);
  EXPECT_FALSE(can_be_pulled(state_, in));
  const Lease lease = state_.lease(64);
  in.x = matrix(lease.data(), 1, 16, kBf16);
  EXPECT_TRUE(can_be_pulled(state_, in));
  in.topk_weights = matrix(weights_, 1, 2, kF32);
  EXPECT_FALSE(can_be_pulled(state_, in));
}

}  // namespace
}  // namespace transload
