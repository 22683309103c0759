// A rank that runs out of memory in the middle of a call: it refuses before the call begins, or it says so to all.
#include <gtest/gtest.h>

#include <barrier>
#include <mutex>
#include <optional>
#include <vector>

#include "tests/support/allocations.h"
#include "tests/support/sanitized.h"
#include "tests/support/team.h"

namespace transload::test {
namespace {

// The fault that the calls end in, if any. Refused for want of memory, they are made once more: nothing has moved.
std::optional<Fault> fault_of(const std::function<void()>& calls, const std::function<void()>& once_more,
                              bool& refused) {
  try {
    try {
      calls();
    } catch (const Error& error) {
      granted = -1;
      if (error.code() == Code::kFault) throw;
      EXPECT_EQ(error.code(), Code::kOutOfMemory) << error.what();
      refused = true;
      once_more();
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kFault) << error.what();
    return error.fault();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  granted = -1;
  return std::nullopt;
}

struct Outcome {
  std::mutex mutex;
  std::vector<Fault> faults;
  bool refused = false;  // to rank 1
};

// Rank 1's n-th allocation of a call fails. Whatever comes of it is known to all at once, by the next call at the
// latest; the deadline is far.
void expect_known_to_all(const World& w, const std::function<void(Group&, const DispatchInputs&, bool armed)>& calls) {
  const reference::Problem problem = problem_of(w);
  int64_t allocations = 1;
  uint32_t faults = 0, refusals = 0;
  for (int64_t n = 0; n < allocations && !testing::Test::HasFailure(); n += 1 + n / 8) {
    Outcome seen;
    std::barrier all(w.ranks());
    run_team(w, [&](Group& group, uint32_t rank) {
      const reference::Routes& routes = problem.routes[rank];
      std::vector<uint64_t> x(size_t(routes.tokens) * w.columns / 4 + 2);
      DispatchInputs in;
      in.x =
          matrix(reinterpret_cast<void*>((uintptr_t(x.data()) + 15) & ~uintptr_t(15)), routes.tokens, w.columns, kBf16);
      in.topk_idx = matrix(routes.ids.data(), routes.tokens, w.top_k, kI32);
      in.topk_weights = matrix(routes.weights.data(), routes.tokens, w.top_k, kF32);
      in.channels = 1;
      group.dispatch(in);
      all.arrive_and_wait();
      bool refused = false;
      std::optional<Fault> fault = fault_of(
          [&] {
            asked = 0;
            granted = rank == 1 ? n : -1;
            calls(group, in, true);
          },
          [&] { calls(group, in, false); }, refused);
      if (rank == 1) allocations = std::max(allocations, asked), seen.refused = refused;
      EXPECT_TRUE(rank == 1 || !refused);
      all.arrive_and_wait();
      if (!fault) fault = fault_of([&] { group.dispatch(in); }, [] {}, refused);
      {
        const std::lock_guard lock(seen.mutex);
        if (fault) seen.faults.push_back(*fault);
      }
      all.arrive_and_wait();  // nobody leaves before all have heard
    });
    refusals += seen.refused;
    faults += !seen.faults.empty();
    EXPECT_TRUE(seen.faults.empty() || seen.faults.size() == w.ranks()) << "allocation " << n;
    for (const Fault& fault : seen.faults) {
      EXPECT_EQ(fault.kind, FaultKind::kFailed) << fault.to_string();
      EXPECT_EQ(fault.culprit_rank, 1u) << fault.to_string();
      EXPECT_EQ(fault.detail, "out of memory") << fault.to_string();
      EXPECT_LT(fault.after_ms, w.deadline_ms / 2) << fault.to_string();
    }
  }
  EXPECT_GT(refusals, 0u);
  EXPECT_GT(faults, 0u);
}

World poor_nodes() {
  World w;
  w.node_sizes = {2, 1};
  w.tokens = {9};
  w.experts = 6;
  return w;
}

TEST(OutOfMemory, InADispatch) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  expect_known_to_all(poor_nodes(), [](Group& group, const DispatchInputs& in, bool) { group.dispatch(in); });
}

TEST(OutOfMemory, InACombine) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  if (kNoAllocationFails != nullptr) GTEST_SKIP() << kNoAllocationFails;
  expect_known_to_all(poor_nodes(), [](Group& group, const DispatchInputs& in, bool armed) {
    const int64_t then = granted;
    granted = -1;
    static thread_local DispatchOutputs out;
    if (armed) out = group.dispatch(in);
    CombineInputs back;
    back.handle = out.handle;
    back.x = out.x;
    asked = 0;
    granted = then;
    group.combine(back);
    granted = -1;
    out = {};
  });
}

}  // namespace
}  // namespace transload::test
