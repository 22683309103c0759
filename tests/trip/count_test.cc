// Group::count: what a dispatch of the same ids then sends; no call, so anybody may ask at any time.
#include <gtest/gtest.h>

#include <latch>
#include <mutex>
#include <numeric>
#include <thread>

#include "tests/support/given.h"
#include "tests/support/refusal.h"

namespace transload::test {
namespace {

World pair_of_nodes() {
  World w;
  w.node_sizes = {2, 1};
  w.tokens = {12, 0, 30};
  w.experts = 7;
  w.top_k = 3;
  return w;
}

std::vector<int32_t> numbers(const Tensor& counts) {
  EXPECT_TRUE(same_type(counts.dtype, kI32) && counts.ndim == 1);
  return {counts.as<int32_t>(), counts.as<int32_t>() + counts.rows()};
}

TEST(Count, SaysWhatADispatchSends) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = pair_of_nodes();
  const reference::Problem problem = problem_of(w);
  std::vector<std::vector<int32_t>> sent(w.ranks());
  std::vector<std::vector<int64_t>> received(w.ranks()), experts(w.ranks());
  std::vector<int32_t> choices(w.experts);
  std::mutex mutex;
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    const CountOutputs counts = group.count(given.in.topk_idx);
    EXPECT_TRUE(counts.status.ok());
    sent[rank] = numbers(counts.rank_counts);
    const std::vector<int32_t> mine = numbers(counts.expert_counts), to_nodes = numbers(counts.node_counts);
    EXPECT_TRUE(same_type(counts.token_in_rank.dtype, kBool));
    ASSERT_EQ(counts.token_in_rank.rows(), w.tokens_of(rank));
    ASSERT_EQ(counts.token_in_rank.columns(), 3);
    for (uint32_t to = 0; to < 3; ++to) {
      int32_t going = 0;
      for (int64_t t = 0; t < w.tokens_of(rank); ++t) going += counts.token_in_rank.as<bool>()[t * 3 + to];
      EXPECT_EQ(going, sent[rank][to]);
    }
    const DispatchOutputs out = group.dispatch(given.in);
    EXPECT_EQ(out.scale_out_rows, to_nodes[rank == 2 ? 0 : 1]);
    EXPECT_EQ(group.report(out.handle).call, 1u) << "counting was a call";
    received[rank] = out.source_rows;
    experts[rank] = out.expert_counts;
    const std::lock_guard lock(mutex);
    for (uint32_t e = 0; e < w.experts; ++e) choices[e] += mine[e];
  });
  for (uint32_t to = 0; to < 3; ++to)
    for (uint32_t from = 0; from < 3; ++from)
      EXPECT_EQ(sent[from][to], received[to][from] - (from == 0 ? 0 : received[to][from - 1])) << from << " to " << to;
  std::vector<int64_t> all;  // of blocks, by rank
  for (const auto& each : experts) all.insert(all.end(), each.begin(), each.end());
  EXPECT_EQ(std::vector<int64_t>(choices.begin(), choices.end()), all);
}

// Rank 1 does not come to rank 0's call before another thread has counted in it, and the arrays outlive the group.
TEST(Count, WorksBesideACall) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_of_nodes();
  w.node_sizes = {2};
  w.tokens = {12};
  const reference::Problem problem = problem_of(w);
  std::latch waits(1), counted(1);
  CountOutputs counts;
  Rendezvous rendezvous;
  std::thread other([&] {
    Group group(options_of(w, 1, rendezvous.port()));
    counted.wait();
    Member(w, problem, group).pass(Pass{}, 2);
  });
  {
    GroupOptions options = options_of(w, 0, rendezvous.port());
    bool told = false, calls = false;
    options.interrupted = [&] {
      if (calls && !told) waits.count_down();
      told = told || calls;
      return false;
    };
    Group group(options);
    std::thread counter([&] {
      waits.wait();
      counts = group.count(Given(w, problem, 0).in.topk_idx);
      counted.count_down();
    });
    calls = true;
    Member(w, problem, group).pass(Pass{}, 2);
    if (!told) waits.count_down();
    counter.join();
  }
  other.join();
  const std::vector<int32_t> experts = numbers(counts.expert_counts);
  EXPECT_EQ(
      std::accumulate(experts.begin(), experts.end(), 0),
      std::count_if(problem.routes[0].ids.begin(), problem.routes[0].ids.end(), [](int32_t id) { return id >= 0; }));
}

TEST(Count, NamesABadId) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_of_nodes();
  w.node_sizes = {1};
  w.tokens = {2};
  run_team(w, [&](Group& group, uint32_t) {
    const std::vector<int64_t> ids{0, 6, 7, 6, 6, -1};
    const CountOutputs counts = group.count(matrix(ids.data(), 2, 3, kI64));
    EXPECT_EQ(counts.status.code, Code::kBadExpertId);
    EXPECT_EQ(counts.status.message, "topk_idx: 7 at token 0, slot 2, must be -1 to 6; counted as -1");
    EXPECT_EQ(numbers(counts.rank_counts), std::vector<int32_t>{2});
    EXPECT_EQ(numbers(counts.expert_counts), (std::vector<int32_t>{1, 0, 0, 0, 0, 0, 3}));
  });
}

TEST(Count, Refuses) {
  World w = pair_of_nodes();
  w.node_sizes = {1};
  w.tokens = {2};
  run_team(w, [&](Group& group, uint32_t) {
    const std::vector<int64_t> ids(64);
    const auto refused = [&](const Tensor& given) { return refusal([&] { group.count(given); }); };
    if (on_gpus()) {
      EXPECT_EQ(refusal([&] { group.count(matrix(ids.data(), 2, 3, kI64)); }, Code::kNotSupported),
                "count: on a GPU, where this version cannot count");
      return;
    }
    EXPECT_EQ(refused({}), "topk_idx: not given, must be a matrix [tokens, choices]");
    EXPECT_EQ(refused(list(ids.data(), 3, kI64)), "topk_idx: 1 dimension, must be of 2");
    EXPECT_EQ(refused(matrix(ids.data(), 2, 3, kF32)), "topk_idx: float32, must be int32 or int64");
    EXPECT_EQ(refused(matrix(ids.data(), 2, 3, kI64, {kDLCUDA, 1})), "topk_idx: on cuda 1, must be on the CPU");
    EXPECT_EQ(refused(matrix(ids.data(), 2, 4, kI64)), "columns of topk_idx: 4, must be 1 to 3");
    EXPECT_EQ(refused(matrix(ids.data(), 2, 0, kI64)), "columns of topk_idx: 0, must be 1 to 3");
    EXPECT_EQ(refused(matrix(ids.data(), 3, 3, kI64)), "rows of topk_idx: 3, must be 0 to 2");
    EXPECT_EQ(refused(matrix(reinterpret_cast<const char*>(ids.data()) + 2, 2, 3, kI64)).substr(0, 18),
              "topk_idx: address ");
    Tensor strided = matrix(ids.data(), 2, 3, kI64);
    strided.strides[0] = 4;
    EXPECT_EQ(refused(strided), "topk_idx: strides [4, 1], must be contiguous");
  });
}

}  // namespace
}  // namespace transload::test
