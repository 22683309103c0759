// What calls are refused for, by name: nothing has moved, and the group is good. A call with a handle on the rank that
// makes it; a dispatch that would make one on all ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/given.h"
#include "tests/support/refusal.h"

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

// Each of `refusing` gives more tokens than there may be. What each rank is told.
std::vector<std::string> told_of(const World& w, const std::vector<uint32_t>& refusing) {
  const reference::Problem problem = problem_of(w);
  std::vector<std::string> told(w.ranks());
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    const Given given(w, problem, rank);
    for (int again = 0; again < 3; ++again) {  // both places of cards and of counts
      DispatchInputs in = given.in;
      if (std::count(refusing.begin(), refusing.end(), rank) > 0) in.x.shape[0] = 12 + rank + 1;
      told[rank] = refusal([&] { group.dispatch(in); });
    }
    Member(w, problem, group).pass(Pass{}, 2);
  });
  return told;
}

// Any rank, over both kinds of link: a rail, a rank without one, the only one of its node.
// Contract 7.10.
TEST(Refusals, OfOneRankAreAllRanks) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  std::vector<World> worlds(4, small_world());
  worlds[1].node_sizes = {3};
  worlds[2].node_sizes = {2, 3};
  worlds[3].node_sizes = {1, 2};
  worlds[3].scale_out = ScaleOutChoice::kLibfabric;
  for (const World& w : worlds)
    for (uint32_t refusing = 0; refusing < w.ranks(); ++refusing) {
      const std::vector<std::string> told = told_of(w, {refusing});
      const std::string text = "rows of x: " + std::to_string(13 + refusing) + ", must be 0 to 12";
      for (uint32_t rank = 0; rank < w.ranks(); ++rank)
        EXPECT_EQ(told[rank], rank == refusing ? text : text + " (rank " + std::to_string(refusing) + ")");
    }
}

TEST(Refusals, OfSeveralRanksAreTheirOwnAndTheLowestOnes) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = small_world();
  w.node_sizes = {2, 2};
  const std::vector<std::string> told = told_of(w, {2, 1});
  EXPECT_EQ(told[0], "rows of x: 14, must be 0 to 12 (rank 1)");
  EXPECT_EQ(told[1], "rows of x: 14, must be 0 to 12");
  EXPECT_EQ(told[2], "rows of x: 15, must be 0 to 12");
  EXPECT_EQ(told[3], told[0]);
}

// As if the library had; whatever else is given.
// Contract 7.10.
TEST(Refusals, OfTheCallerItselfAreAllRanks) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = small_world();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    const auto refused = [&](DispatchInputs in, const Error& error, Code code) {
      if (rank == 1) in.refused = error;
      return refusal([&] { group.dispatch(in); }, code);
    };
    const std::string by = rank == 1 ? "" : " (rank 1)";
    for (const DispatchInputs& in : {given.in, rank == 1 ? DispatchInputs{} : given.in}) {
      EXPECT_EQ(refused(in, {Code::kInvalidArgument, "x: no array"}, Code::kInvalidArgument), "x: no array" + by);
      EXPECT_EQ(refused(in, {Code::kNotSupported, "sms: 4"}, Code::kNotSupported), "sms: 4" + by);
      EXPECT_EQ(refused(in, {Code::kDevice, "broken"}, Code::kInvalidArgument),
                "refused: broken, must be an Error of kInvalidArgument or kNotSupported" + by);
    }
    DispatchInputs cached;  // with a handle it is this rank's alone
    cached.x = given.in.x;
    cached.handle = group.dispatch(given.in).handle;
    DispatchInputs wrong = cached;
    wrong.refused = Error(Code::kInvalidArgument, "x: no array");
    if (rank == 1) {
      EXPECT_EQ(refusal([&] { group.dispatch(wrong); }), "x: no array");
    }
    group.dispatch(cached);
    Member(w, problem, group).pass(Pass{}, 2);
  });
}

// It has no arguments to compare, but calls that differ are still told apart.
TEST(Refusals, OfADispatchWhereOthersCombineAreAMismatch) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = small_world();
  w.node_sizes = {3};
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    const DispatchOutputs out = group.dispatch(given.in);
    DispatchInputs in = given.in;
    in.x.shape[0] = 13;
    CombineInputs back;
    back.handle = out.handle;
    back.x = out.x;
    try {
      if (rank == 1)
        group.dispatch(in);
      else
        group.combine(back);
      ADD_FAILURE() << "rank " << rank << " returned";
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), Code::kFault) << error.what();
      EXPECT_EQ(error.fault().kind, FaultKind::kMismatch) << error.what();
      EXPECT_EQ(error.fault().culprit_rank, 1u) << error.what();
    }
  });
}

}  // namespace
}  // namespace transload::test
