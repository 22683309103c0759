// slab_bytes_needed(): calls as large as the options allow fill so many bytes, and not one is left.
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "tests/support/team.h"

namespace transload::test {
namespace {

constexpr int64_t kSlabTokens = 40;
constexpr SlabUse kOnce{.dispatches = 1, .expert_rows = 1, .combines = 1};

World full_world() {
  World w;
  w.node_sizes = {2, 1};
  w.tokens = {kSlabTokens};
  w.experts = w.top_k = 3;
  w.route = [](uint32_t, int64_t, uint32_t k) { return int32_t(k); };  // every token goes to every rank
  return w;
}

GroupOptions options_of_rank(const World& w, uint32_t rank, uint16_t port, const SlabUse& use) {
  GroupOptions options = options_of(w, rank, port);
  options.slab_bytes = slab_bytes_needed(options, use);
  return options;
}

// One call of each kind on every rank. Returns what is leased while all of it is kept.
uint64_t call_all(const World& w, Group& group) {
  const uint32_t rank = group.rank();
  TensorHome& side = side_of(rank);
  side.reset();
  const reference::Problem problem = problem_of(w);
  std::vector<uint16_t> x(size_t(kSlabTokens) * w.columns, 0x3F80);
  std::vector<uint32_t> scales(size_t(kSlabTokens) * w.scales_max, 1);
  DispatchInputs in;
  in.x = side.put(matrix(x.data(), kSlabTokens, w.columns, kBf16));
  in.scales = side.put(matrix(scales.data(), kSlabTokens, w.scales_max, kF32));
  in.topk_idx = side.put(matrix(problem.routes[rank].ids.data(), kSlabTokens, w.top_k, kI32));
  in.topk_weights = side.put(matrix(problem.routes[rank].weights.data(), kSlabTokens, w.top_k, kF32));
  in.idx_type = kI64;
  in.stream = side.stream();
  const DispatchOutputs out = group.dispatch(in);
  EXPECT_EQ(out.landing, Landing::kDirect);
  const Lease rows = group.lease(out.x.bytes()), weights = group.lease(out.topk_weights.bytes());
  EXPECT_TRUE(rows.registered() && weights.registered());
  side.write(rows.data(), side.take(out.x).data, out.x.bytes());
  side.write(weights.data(), side.take(out.topk_weights).data, out.topk_weights.bytes());
  CombineInputs back;
  back.x = matrix(rows.data(), out.rows, w.columns, kBf16, side.device());
  back.topk_weights = matrix(weights.data(), out.rows, w.top_k, kF32, side.device());
  back.handle = out.handle;
  back.stream = side.stream();
  const CombineOutputs sums = group.combine(back);
  EXPECT_EQ(sums.source, CombineSource::kPull);
  EXPECT_TRUE(sums.lease.registered());
  group.wait(side.stream());
  return group.memory().leased_bytes;
}

TEST(SlabBytes, CallsTakeAllOfIt) {
  const World w = full_world();
  Rendezvous rendezvous;
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < w.ranks(); ++rank)
    threads.emplace_back([&, rank] {
      try {
        const GroupOptions options = options_of_rank(w, rank, rendezvous.port(), kOnce);
        Group group(options);
        EXPECT_EQ(call_all(w, group), options.slab_bytes) << "rank " << rank;
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(SlabBytes, GrowWithWhatIsKept) {
  const GroupOptions options = options_of(full_world(), 0, 1);
  const uint64_t once = slab_bytes_needed(options, kOnce);
  EXPECT_EQ(slab_bytes_needed(options), 2 * once);
  EXPECT_EQ(slab_bytes_needed(options, {.rows = 3 * kSlabTokens, .tokens = kSlabTokens}), 2 * once);
  EXPECT_LT(slab_bytes_needed(options, {.rows = 0, .tokens = 0}), once);
  EXPECT_EQ(slab_bytes_needed(options, {.dispatches = 0, .expert_rows = 0, .combines = 0}), 0u);
}

void expect_refused(GroupOptions options, const SlabUse& use, const std::string& words) {
  try {
    slab_bytes_needed(options, use);
    ADD_FAILURE() << "not refused: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()), words);
  }
}

TEST(SlabBytes, RefuseWhatNoGroupWouldTake) {
  GroupOptions options = options_of(full_world(), 0, 1);
  expect_refused(options, {.rows = -2}, "slab_bytes_needed: rows: -2, must be at least -1");
  expect_refused(options, {.tokens = -7}, "slab_bytes_needed: tokens: -7, must be at least -1");
  expect_refused(options, {.rows = std::numeric_limits<int64_t>::max()},
                 "slab_bytes_needed: more than 2^64 bytes, must be at most 70368744177664");
  expect_refused(options, {.rows = int64_t(1) << 44, .tokens = 0, .dispatches = 0, .expert_rows = 1, .combines = 0},
                 "slab_bytes_needed: " + std::to_string((uint64_t(1) << 44) * (16 + 12)) +
                     " bytes, must be at most 70368744177664");
  options.row_bytes_max = 24;
  expect_refused(options, {}, "row_bytes_max: 24, must be a multiple of 16");
}

}  // namespace
}  // namespace transload::test
