// What the border lets in: handles of other groups, memory given twice, types and sizes that cannot be, modes of the
// caller's thread, and one call's own deadline.
#include <fenv.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/support/given.h"
#include "tests/support/refusal.h"
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace transload::test {
namespace {

World pair_world() {
  World w;
  w.node_sizes = {2};
  w.tokens = {12};
  w.experts = 4;
  w.top_k = 2;
  return w;
}

// The next group of a process mostly gets the address of the last one, and the same epochs.
TEST(Handles, OfAGroupThatIsGone) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World before = pair_world();
  before.node_sizes = {3};
  before.experts = 6;
  std::vector<Handle> old(before.ranks());
  for (int round = 0; round < 8; ++round) {
    const World now = round % 2 == 0 ? before : pair_world();
    const reference::Problem problem = problem_of(now);
    run_team(now, [&](Group& group, uint32_t rank) {
      Given given(now, problem, rank);
      if (old[rank]) {
        DispatchInputs cached;
        cached.x = given.in.x;
        cached.handle = old[rank];
        EXPECT_EQ(refusal([&] { group.dispatch(cached); }),
                  "handle: of another group, must be of a dispatch of this group");
        CombineInputs back;
        back.handle = old[rank];
        EXPECT_EQ(refusal([&] { group.combine(back); }),
                  "handle: of another group, must be of a dispatch of this group");
        EXPECT_THROW(group.report(old[rank]), Error);
      }
      Member(now, problem, group).pass(Pass{}, uint64_t(round));
      old[rank] = group.dispatch(given.in).handle;
    });
  }
}

// Every output apart from every input.
TEST(BadInput, OutXOverAnInput) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = pair_world();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Given given(w, problem, rank);
    std::vector<uint64_t> memory(4096);
    char* const base = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
    const size_t row_bytes = w.columns * 2, x_bytes = given.in.x.bytes();
    DispatchInputs in = given.in;
    std::memcpy(base, in.x.data, x_bytes);
    in.x.data = base;
    in.scales = matrix(base + 8192, in.x.rows(), 2, kF32);
    in.scales.strides[0] = -2;  // ends where it would begin
    auto over = [&](char* at, int64_t rows) {
      in.out_x = matrix(at, rows, w.columns, kBf16);
      return refusal([&] { group.dispatch(in); });
    };
    const char* const of_x = "out_x: over memory of x, must be apart from all inputs";
    EXPECT_EQ(over(base, 24), of_x);
    EXPECT_EQ(over(base + x_bytes - 16, 24), of_x);
    EXPECT_EQ(over(base + 8192 - 16, 1), "out_x: over memory of scales, must be apart from all inputs");
    EXPECT_EQ(over(base + 8192 - 80, 1), "out_x: over memory of scales, must be apart from all inputs");
    std::memcpy(base + 4096, in.topk_idx.data, in.topk_idx.bytes());
    in.topk_idx.data = base + 4096;
    EXPECT_EQ(over(base + 4096, 24), "out_x: over memory of topk_idx, must be apart from all inputs");
    std::memcpy(base + 6144, in.topk_weights.data, in.topk_weights.bytes());
    in.topk_weights.data = base + 6144;
    EXPECT_EQ(over(base + 6144 - row_bytes, 2), "out_x: over memory of topk_weights, must be apart from all inputs");
    in.out_x = matrix(base + x_bytes, 64, w.columns, kBf16);  // right behind x
    const DispatchOutputs out = group.dispatch(in);

    CombineInputs back;
    back.handle = out.handle;
    back.x = out.x;
    std::vector<float> weights(size_t(out.x.rows()) * w.top_k + 8);
    back.topk_weights = matrix(weights.data(), out.x.rows(), w.top_k, kF32);
    back.bias[0] = back.bias[1] = given.in.x;
    const int64_t tokens = given.in.x.rows();
    auto combined_over = [&](void* at) {
      back.out_x = matrix(at, tokens, w.columns, kBf16);
      return refusal([&] { group.combine(back); });
    };
    EXPECT_EQ(combined_over(out.x.data), of_x);
    EXPECT_EQ(combined_over(given.in.x.data), "out_x: over memory of bias[0], must be apart from all inputs");
    back.bias[0].data = base + 8192 + 256;
    EXPECT_EQ(combined_over(given.in.x.data), "out_x: over memory of bias[1], must be apart from all inputs");
    char* const in_weights =
        reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(weights.data()) + 15) & ~uintptr_t(15));
    EXPECT_EQ(combined_over(in_weights), "out_x: over memory of topk_weights, must be apart from all inputs");
    DispatchInputs nothing;  // no bytes are over none
    nothing.x = matrix(base + 64, 0, w.columns, kBf16);
    nothing.topk_idx = matrix(base + 64, 0, w.top_k, kI32);
    nothing.topk_weights = matrix(base + 64, 0, w.top_k, kF32);
    nothing.out_x = matrix(base, 64, w.columns, kBf16);
    EXPECT_EQ(group.dispatch(nothing).rows, 0);
    Member(w, problem, group).pass(Pass{}, 5);
  });
}

TEST(BadInput, AWireThatTheGroupHasNoRoomFor) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_world();
  w.node_sizes = {2, 1};
  w.combine_wire = CombineWire::kBf16;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    const Given given(w, problem, rank);
    const DispatchOutputs out = group.dispatch(given.in);
    CombineInputs in;
    in.handle = out.handle;
    in.x = out.x;
    in.wire = CombineWire::kF32;
    EXPECT_EQ(refusal([&] { group.combine(in); }), "wire: fp32, must be at most combine_wire of the group, bf16");
    Pass pushed{.source = CombineSource::kPush, .biases = 1, .weights = true};
    Member(w, problem, group).pass(pushed, 2);  // the group is as it was, and its slots are long enough
  });
}

TEST(BadInput, TypesAndSizes) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_world();
  w.scales_max = 0;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    auto refused = [&](const std::function<void(DispatchInputs&)>& spoil) {
      DispatchInputs in = given.in;
      spoil(in);
      return refusal([&] { group.dispatch(in); });
    };
    constexpr DLDataType kInt4{kDLInt, 4, 1};
    EXPECT_EQ(refused([&](auto& in) { in.x = matrix(in.x.data, 12, 33, kInt4); }),
              "x: 33 columns of int4, must be whole bytes a row");
    EXPECT_EQ(refused([&](auto& in) { in.x = matrix(in.x.data, 4, (int64_t(1) << 62) + 16, kU8); }),
              "x: [4, 4611686018427387920] of uint8, must be of fewer than 2^64 bytes");
    EXPECT_EQ(refused([&](auto& in) { in.x.dtype.bits = 0; }), "x: bfloat0, must be of a type that has bits");
    EXPECT_EQ(refused([&](auto& in) { in.scales = matrix(in.topk_weights.data, 12, 1, kF32); }),
              "scales: given, must be absent: the group was made with scales_max 0");
    EXPECT_EQ(refused([&](auto& in) {
                in.topk_idx.data = static_cast<char*>(in.topk_idx.data) + 2;
              }).rfind("topk_idx: address ", 0),
              0u);
    EXPECT_EQ(refused([&](auto& in) { in.deadline_ms = 7; }),
              "deadline_ms: 7, must be 0, the group's, or 50 to 86400000");
    EXPECT_EQ(refused([&](auto& in) { in.landing = Landing(9); }), "landing: 9, must be auto, direct or ring");
    EXPECT_NE(refusal([&] { group.lease(SIZE_MAX); }, Code::kOutOfMemory).find("private memory"), std::string::npos);
    const Lease one = group.lease(100), other = group.lease(100);
    EXPECT_GE(std::abs(static_cast<char*>(one.data()) - static_cast<char*>(other.data())), 100);
    Member(w, problem, group).pass(Pass{}, 5);
  });
}

// Rows of 4-bit elements arrive, as long as they are and no longer.
TEST(Types, OfHalfABit) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = pair_world();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    const DispatchOutputs want = group.dispatch(given.in);
    DispatchInputs in = given.in;
    in.x = matrix(in.x.data, in.x.rows(), 32, {kDLInt, 4, 1});
    const DispatchOutputs out = group.dispatch(in);
    ASSERT_EQ(out.x.bytes(), want.x.bytes());
    EXPECT_EQ(std::memcmp(out.x.data, want.x.data, want.x.bytes()), 0);
  });
}

#ifdef __SSE__
// Sums are those of the contract whatever the thread's mode is, and the mode is the caller's again afterwards.
TEST(FloatMode, OfTheCallerChangesNoSum) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w;
  w.node_sizes = {3};
  w.experts = w.top_k = 3;
  w.tokens = {9};
  w.columns = 16;
  w.route = [](uint32_t, int64_t, uint32_t k) { return int32_t(k); };
  const reference::Problem problem = problem_of(w);
  constexpr uint32_t kFlush = 0x8040, kUpward = 0x4000, kUntrapped = 0x1F80, kRaised = 0x3F;
  run_team(w, [&](Group& group, uint32_t rank) {
    const uint32_t before = _mm_getcsr();
    _mm_setcsr(kUntrapped | kFlush | kUpward);
    Given given(w, problem, rank);
    const DispatchOutputs out = group.dispatch(given.in);
    // Even columns: half a unit of the last place, and a little that only rounding upward would not lose. Odd ones:
    // denormals.
    const uint16_t even[] = {0x3F80, 0x3B80, 0x3080};
    std::vector<uint16_t> rows(size_t(out.rows) * w.columns + 8);
    auto* const y = reinterpret_cast<uint16_t*>(Given::aligned(rows));
    for (size_t i = 0; i < size_t(out.rows) * w.columns; ++i) y[i] = i % 2 == 0 ? even[rank] : 1;
    CombineInputs back;
    back.handle = out.handle;
    back.x = matrix(y, out.rows, w.columns, kBf16);
    const CombineOutputs sums = group.combine(back);
    EXPECT_EQ(_mm_getcsr() & ~kRaised, kUntrapped | kFlush | kUpward);
    for (size_t i = 0; i < size_t(sums.x.rows()) * w.columns; ++i)
      ASSERT_EQ(sums.x.as<uint16_t>()[i], i % 2 == 0 ? 0x3F80 : 3) << "element " << i;
    std::vector<uint16_t> want(w.columns), row(w.columns);
    reference::sum(
        problem, {{rank, 0}, int64_t(w.columns), false, {nullptr, nullptr}},
        [&](uint32_t owner, reference::Source) {
          for (uint32_t c = 0; c < w.columns; ++c) row[c] = c % 2 == 0 ? even[owner] : 1;
          return row.data();
        },
        want.data());
    EXPECT_EQ(std::memcmp(want.data(), sums.x.data, w.columns * 2), 0);
    _mm_setcsr(before);
  });
}
#endif

// A landing that was asked for and cannot be is never silently another.
TEST(Landing, DirectOrNotAtAll) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_world();
  w.slab_bytes = 16384;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Given given(w, problem, rank);
    given.in.landing = Landing::kDirect;
    EXPECT_EQ(group.dispatch(given.in).landing, Landing::kDirect);
    std::vector<uint16_t> own(size_t(64) * w.columns + 8);
    DispatchInputs in = given.in;
    in.out_x = matrix(Given::aligned(own), 64, w.columns, kBf16);
    EXPECT_EQ(refusal([&] { group.dispatch(in); }),
              "landing: direct, must be auto or ring: out_x lies in no lease of this group");
    {
      const Lease most = group.lease(rank == 1 ? w.slab_bytes - 256 : 1);
      ASSERT_TRUE(most.registered());
      if (rank == 1)
        EXPECT_EQ(refusal([&] { group.dispatch(given.in); }, Code::kOutOfMemory).rfind("landing: direct, but ", 0), 0u);
      else
        EXPECT_EQ(group.dispatch(given.in).landing, Landing::kDirect);
    }
    Member(w, problem, group).pass(Pass{}, 3);
  });
}

// Peers read only what lies in a lease: all of it, or nothing is pulled.
TEST(Source, PulledOnlyFromLeases) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  const World w = pair_world();
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const Given given(w, problem, rank);
    const DispatchOutputs out = group.dispatch(given.in);
    const size_t weight_bytes = size_t(out.rows) * w.top_k * 4;
    std::vector<uint16_t> x(size_t(out.rows) * w.columns + 8);
    std::vector<float> weights(weight_bytes / 4);
    const Lease x_lease = group.lease(out.x.bytes()), weight_lease = group.lease(weight_bytes);
    std::memcpy(x_lease.data(), out.x.data, out.x.bytes());
    std::memcpy(Given::aligned(x), out.x.data, out.x.bytes());
    std::memcpy(weight_lease.data(), out.topk_weights.data, weight_bytes);
    std::memcpy(weights.data(), out.topk_weights.data, weight_bytes);
    CombineOutputs first;
    for (const bool x_leased : {true, false})
      for (const bool weights_leased : {true, false}) {
        CombineInputs back;
        back.handle = out.handle;
        back.x = out.x;
        back.x.data = x_leased ? x_lease.data() : Given::aligned(x);
        back.topk_weights = matrix(weights_leased ? weight_lease.data() : weights.data(), out.rows, w.top_k, kF32);
        const bool pulled = x_leased && weights_leased;
        CombineOutputs sums = group.combine(back);
        EXPECT_EQ(sums.source, pulled ? CombineSource::kPull : CombineSource::kPush);
        if (!first.x.given())
          first = std::move(sums);
        else {
          EXPECT_EQ(std::memcmp(sums.x.data, first.x.data, first.x.bytes()), 0);
          EXPECT_EQ(std::memcmp(sums.topk_weights.data, first.topk_weights.data, first.topk_weights.bytes()), 0);
        }
        back.source = CombineSource::kPull;
        if (pulled)
          EXPECT_EQ(group.combine(back).source, CombineSource::kPull);
        else
          EXPECT_EQ(refusal([&] { group.combine(back); }),
                    "source: pull, must be push: x (and topk_weights) must lie in a lease of this group to be pulled");
      }
  });
}

// One call's own: it ends that call, and the next one has the group's again.
TEST(Deadline, OfOneCall) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = pair_world();
  const reference::Problem problem = problem_of(w);
  std::barrier both(2);
  run_team(w, [&](Group& group, uint32_t rank) {
    Given given(w, problem, rank);
    given.in.deadline_ms = 2000;
    both.arrive_and_wait();
    const DispatchOutputs out = group.dispatch(given.in);
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(3000));
    CombineInputs back;
    back.handle = out.handle;
    back.x = out.x;
    group.combine(back);
    if (rank == 1) return both.arrive_and_wait();
    back.deadline_ms = 500;
    try {
      group.combine(back);
      ADD_FAILURE() << "alone";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault().kind, FaultKind::kAbsent) << error.what();
      EXPECT_EQ(error.fault().culprit_rank, 1u) << error.what();
      EXPECT_GE(error.fault().after_ms, 500) << error.what();
      EXPECT_LT(error.fault().after_ms, w.deadline_ms / 2) << error.what();
    }
    both.arrive_and_wait();
  });
}

// One expert more for each rank, one choice more for each token: its own rank's.
TEST(Experts, SharedByAllTokens) {
  for (const std::vector<uint32_t>& sizes : {std::vector<uint32_t>{3}, {2, 2}, {1, 3}}) {
    World w;
    w.node_sizes = sizes;
    w.tokens = {17};
    w.top_k = 4;
    const uint32_t routed = 2 * w.ranks();
    for (uint32_t e = 0; e < routed; ++e) w.expert_owner.push_back(e / 2);
    for (uint32_t r = 0; r < w.ranks(); ++r) w.expert_owner.push_back(r);
    w.experts = uint32_t(w.expert_owner.size());
    w.route = [=](uint32_t rank, int64_t token, uint32_t k) {
      return k == 3 ? int32_t(routed + rank) : int32_t((uint64_t(token) * 5 + k * 3 + rank) % routed);
    };
    std::vector<Pass> passes(3);
    passes[1].landing = Landing::kRing;
    passes[1].source = CombineSource::kPush;
    passes[2].weights = true;
    run_passes(w, passes);
    const reference::Problem problem = problem_of(w);
    for (uint32_t r = 0; r < w.ranks(); ++r) {
      const std::vector<int64_t> counts = reference::received_by(problem, r).expert_counts;
      ASSERT_EQ(counts.size(), 3u);
      EXPECT_EQ(counts[2], 17) << "the tokens of rank " << r;
    }
  }
}

uint64_t resident_bytes() {
  uint64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * uint64_t(::sysconf(_SC_PAGESIZE));
}

// A group for many tokens uses no memory for those that do not come.
TEST(Memory, IsNotTouchedForTokensThatMayCome) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  Rendezvous rendezvous;
  World w;
  w.tokens = {4};
  GroupOptions options = options_of(w, 0, rendezvous.port());
  options.tokens_max = 2 << 20;
  options.top_k_max = 8;
  const uint64_t before = resident_bytes();
  Group group(options);
  EXPECT_GE(group.memory().private_bytes, options.tokens_max * 9 * 16);
  EXPECT_LT(resident_bytes() - before, uint64_t(32) << 20);
  Member(w, problem_of(w), group).pass(Pass{}, 1);
}

// What cannot be had is an Error that says how much it is.
TEST(Memory, TooManyTokensAreRefused) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  Rendezvous rendezvous;
  World w;
  w.tokens = {4};
  GroupOptions options = options_of(w, 0, rendezvous.port());
  options.tokens_max = uint64_t(1) << 31;
  options.top_k_max = 32;
  options.scales_max = 4096;
  const std::string got = refusal([&] { Group group(options); }, Code::kOutOfMemory);
  EXPECT_NE(got.find(" bytes needed, but only "), std::string::npos) << got;
}

}  // namespace
}  // namespace transload::test
