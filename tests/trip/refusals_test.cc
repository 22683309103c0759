// What a call with a handle is refused for, by name, on the rank that makes it: nothing has moved, and the group is
// good.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/support/given.h"

namespace transload::test {
namespace {

World small_world() {
  World w;
  w.node_sizes = {2, 1};
  w.tokens = {12};
  w.experts = 6;
  w.top_k = 3;
  return w;
}

TEST(Refusals, OfACallWithAHandle) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = small_world();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const reference::Routes& routes = problem.routes[rank];
    std::vector<uint16_t> x(size_t(routes.tokens + 1) * w.columns, 0x3F80), sums = x;
    DispatchInputs first;
    first.x = matrix(x.data(), routes.tokens, w.columns, kBf16);
    first.topk_idx = matrix(routes.ids.data(), routes.tokens, w.top_k, kI32);
    first.topk_weights = matrix(routes.weights.data(), routes.tokens, w.top_k, kF32);
    first.rows_max = 20;
    first.overflow = Overflow::kDrop;
    const DispatchOutputs out = group.dispatch(first);
    DispatchInputs again;
    again.x = first.x;
    again.handle = out.handle;
    const auto refused = [&](const std::function<void(DispatchInputs&)>& spoil) {
      DispatchInputs in = again;
      spoil(in);
      return refusal([&] { group.dispatch(in); });
    };
    EXPECT_EQ(refused([](auto& in) { in.rows_max = 19; }).find("rows_max: 19"), 0u);
    EXPECT_EQ(refused([](auto& in) { --in.x.shape[0]; }).find("x: [11, "), 0u);
    EXPECT_EQ(refused([&](auto& in) { in.topk_idx = first.topk_idx; }).find("topk_idx: given with a handle"), 0u);
    EXPECT_NE(
        refused([&](auto& in) { in.out_x = matrix(sums.data(), 1, w.columns, kBf16); }).find("at least 20, rows_max"),
        std::string::npos);
    CombineInputs back;
    back.handle = out.handle;
    back.x = out.x;
    back.bias[1] = matrix(sums.data(), routes.tokens, w.columns, kBf16);
    EXPECT_EQ(refusal([&] { group.combine(back); }).find("bias[1]: given alone"), 0u);
    back.bias[1] = Tensor{};
    back.x.shape[0] = 19;
    EXPECT_EQ(refusal([&] { group.combine(back); }).find("x: [19, "), 0u);
    Member(w, problem, group).pass(Pass{}, 3);
  });
}

}  // namespace
}  // namespace transload::test
