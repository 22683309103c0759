// Faults between threads: who is absent, who called something else, and what is left usable. Killed and stopped
// processes are in tests/program.
#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <latch>
#include <thread>

#include "tests/support/faulty_team.h"
#include "tests/support/patience.h"

namespace transload::test {
namespace {

class AbsentRank : public testing::TestWithParam<uint32_t> {};

// Any rank may be the one that does not come to a call: rank 0, the first of a node, a rail.
// Contract 8.2, 8.4.
TEST_P(AbsentRank, IsNamedByAll) {
  const World w = world_of({2, 2}, {20});
  const reference::Problem problem = problem_of(w);
  ToldFaults seen;
  std::barrier others(w.ranks() - 1);
  run_faulty(w, seen, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    if (rank == GetParam()) return;
    others.arrive_and_wait();
    Member(w, problem, group).pass(short_pass(), 2);
  });
  ASSERT_EQ(seen.faults.size(), w.ranks() - 1);
  for (const Fault& f : seen.faults) {
    EXPECT_EQ(f.culprit_rank, GetParam()) << f.to_string();
    EXPECT_EQ(f.kind, FaultKind::kAbsent) << f.to_string();
    EXPECT_EQ(f.operation, "dispatch") << f.to_string();
    EXPECT_FALSE(f.waiting_for.empty()) << f.to_string();
    EXPECT_LT(f.seen, f.expected) << f.to_string();
  }
}
INSTANTIATE_TEST_SUITE_P(Each, AbsentRank, testing::Values(0, 1, 2, 3));

// A rank that never comes to the making of the group.
// Contract 8.1.
TEST(Faults, NobodyCallsTheConstructor) {
  World w = world_of({2, 2}, {20});
  w.deadline_ms = kShortMs;
  Rendezvous rendezvous;
  std::barrier others(w.ranks() - 1);
  std::vector<std::thread> ranks;
  for (uint32_t r : {0u, 1u, 3u})
    ranks.emplace_back([&, r] {
      others.arrive_and_wait();
      try {
        Group group(options_of(w, r, rendezvous.port()));
        ADD_FAILURE() << "made without rank 2";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::kFault) << error.what();
        EXPECT_EQ(error.fault().culprit_rank, 2u) << error.what();
        EXPECT_EQ(error.fault().operation, "create") << error.what();
      }
    });
  for (std::thread& t : ranks) t.join();
}

// Ranks that call different things, or the same with other arguments, are told so at once, long before a deadline.
struct Last {
  Group& group;
  uint32_t rank;
  DispatchInputs in;  // of a first dispatch
  CombineInputs back;
  Handle handle, other;  // of two dispatches

  void cached(const Handle& of) {
    in.handle = of;
    in.topk_idx = in.topk_weights = Tensor{};
    group.dispatch(in);
  }
};
void expect_mismatch(const std::string& argument, uint32_t culprit, const std::function<void(Last&)>& last_call) {
  if (on_gpus()) GTEST_SKIP() << kHostTensors;
  World w = world_of({2, 2}, {20});
  w.columns = 16;
  const reference::Problem problem = problem_of(w);
  ToldFaults seen;
  std::barrier all_here(w.ranks());  // so that all complain while complaints are collected
  run_faulty(w, seen, [&](Group& group, uint32_t rank) {
    std::vector<uint16_t> x(size_t(w.tokens_of(rank)) * w.columns, 1);
    Last last{group, rank, {}, {}, nullptr, nullptr};
    last.in.x = matrix(x.data(), w.tokens_of(rank), w.columns, kBf16);
    last.in.topk_idx = matrix(problem.routes[rank].ids.data(), w.tokens_of(rank), w.top_k, kI32);
    last.in.topk_weights = matrix(problem.routes[rank].weights.data(), w.tokens_of(rank), w.top_k, kF32);
    last.other = group.dispatch(last.in).handle;
    const DispatchOutputs out = group.dispatch(last.in);
    last.handle = out.handle;
    last.back.handle = out.handle;
    last.back.x = out.x;
    all_here.arrive_and_wait();
    last_call(last);
    ADD_FAILURE() << "rank " << rank << " returned";
  });
  ASSERT_EQ(seen.faults.size(), w.ranks());
  for (const Fault& f : seen.faults) {
    EXPECT_EQ(f.kind, FaultKind::kMismatch) << f.to_string();
    EXPECT_EQ(f.culprit_rank, culprit) << f.to_string();  // the one that differs, whoever complained first
    EXPECT_EQ(f.detail.rfind(argument + ": ", 0), 0u) << f.to_string();
    EXPECT_LT(f.after_ms, w.deadline_ms / 2) << f.to_string();
  }
}

// The culprit alone makes its last call with what `spoil` leaves.
void expect_mismatch_of_a_dispatch(const std::string& argument, uint32_t culprit,
                                   const std::function<void(Last&)>& spoil) {
  expect_mismatch(argument, culprit, [&](Last& last) {
    if (last.rank == culprit) spoil(last);
    last.group.dispatch(last.in);
  });
}
void expect_mismatch_of_a_combine(const std::string& argument, uint32_t culprit,
                                  const std::function<void(Last&)>& spoil) {
  expect_mismatch(argument, culprit, [&](Last& last) {
    if (last.rank == culprit) spoil(last);
    last.group.combine(last.back);
  });
}

// Contract 8.11.
TEST(Mismatch, Channels) {
  expect_mismatch_of_a_dispatch("channels", 3, [](Last& last) { last.in.channels = 1; });
}
// Contract 8.11.
TEST(Mismatch, Operation) {
  expect_mismatch("operation", 1, [](Last& last) {
    if (last.rank == 1) return last.cached(last.handle);
    last.group.dispatch(last.in);
  });
}
TEST(Mismatch, Dtype) {
  expect_mismatch_of_a_dispatch("dtype", 0,
                                [](Last& last) { last.in.x = matrix(last.in.x.data, last.in.x.rows(), 32, kU8); });
}
TEST(Mismatch, RowBytes) {
  expect_mismatch_of_a_dispatch("row bytes", 0,
                                [](Last& last) { last.in.x = matrix(last.in.x.data, last.in.x.rows(), 8, kBf16); });
}
TEST(Mismatch, Scales) {
  const std::vector<float> scales(size_t(world_of({2, 2}, {20}).tokens_of(2)) * 2, 1);
  expect_mismatch_of_a_dispatch("scales", 2,
                                [&](Last& last) { last.in.scales = matrix(scales.data(), last.in.x.rows(), 2, kF32); });
}
TEST(Mismatch, TopK) {
  expect_mismatch_of_a_dispatch("top-k", 1, [](Last& last) {
    last.in.topk_idx = matrix(last.in.topk_idx.data, last.in.x.rows(), 3, kI32);
    last.in.topk_weights = matrix(last.in.topk_weights.data, last.in.x.rows(), 3, kF32);
  });
}
TEST(Mismatch, HandleOfADispatch) {
  expect_mismatch("handle", 2, [](Last& last) { last.cached(last.rank == 2 ? last.other : last.handle); });
}
TEST(Mismatch, HandleOfACombine) {
  expect_mismatch_of_a_combine("handle", 3, [](Last& last) { last.back.handle = last.other; });
}
TEST(Mismatch, Wire) {
  expect_mismatch_of_a_combine("wire", 3, [](Last& last) { last.back.wire = CombineWire::kF32; });
}
TEST(Mismatch, Weights) {
  std::vector<float> weights;
  expect_mismatch_of_a_combine("topk_weights", 0, [&](Last& last) {
    weights.assign(size_t(last.back.x.rows()) * 4, 1);
    last.back.topk_weights = matrix(weights.data(), last.back.x.rows(), 4, kF32);
  });
}

// The same of a cached dispatch, whose rows wait for grants, not for cards: rank 0's are longer than rank 1 has room
// for, and nothing behind that room is written, whoever is first.
TEST(Mismatch, LongerRowsAreNotStored) {
  World w = world_of({2, 2}, {20});
  w.node_sizes = {2};
  w.columns = 64;
  const reference::Problem problem = problem_of(w);
  const int64_t rows = 2 * int64_t(w.tokens_of(0));
  for (int round = 0; round < 20; ++round) {
    std::barrier both(2);
    run_team(w, [&](Group& group, uint32_t rank) {
      TensorHome& side = side_of(rank);
      const reference::Routes& routes = problem.routes[rank];
      const std::vector<uint16_t> x(size_t(routes.tokens) * w.columns, 0x3F80);
      DispatchInputs first;
      first.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
      first.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, w.top_k, kI32));
      first.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, w.top_k, kF32));
      first.stream = side.stream();
      DispatchInputs in;
      in.handle = group.dispatch(first).handle;
      const size_t bytes = size_t(rows) * w.columns * 2;
      const Lease lease = group.lease(bytes);
      const std::vector<char> blank(bytes, 0x5A);
      side.write(lease.data(), blank.data(), bytes);
      const int64_t columns = rank == 0 ? 64 : 8;
      in.x = first.x;
      in.x.shape[1] = in.x.strides[0] = columns;
      in.stream = first.stream;
      in.out_x = matrix(lease.data(), rows, columns, kBf16);
      in.out_x.device = side.device();
      both.arrive_and_wait();
      try {
        group.dispatch(in);
        group.wait(in.stream);
        ADD_FAILURE() << "rank " << rank << " returned";
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), Code::kFault) << error.what();
        EXPECT_EQ(error.fault().kind, FaultKind::kMismatch) << error.what();
        EXPECT_NE(std::string(error.what()).find("row bytes"), std::string::npos) << error.what();
      }
      both.arrive_and_wait();
      Tensor all = matrix(lease.data(), 1, int64_t(bytes), kU8);
      all.device = side.device();
      const char* const left = side.take(all).as<char>();
      for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(left[i], 0x5A) << "rank " << rank << ", byte " << i;
    });
  }
}

// After a fault the ranks that are left make a new group, and other groups never noticed.
// Contract 8.5, 8.6.
TEST(Faults, TheRestGoesOn) {
  const World w = world_of({2, 2}, {20});
  World rest = w;
  rest.node_sizes = {2, 1};
  const reference::Problem problem = problem_of(w), rest_problem = problem_of(rest);
  Rendezvous rendezvous;
  std::barrier others(w.ranks() - 1);
  std::latch noticed(w.ranks() - 1);
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      Group other(options_of(w, r, rendezvous.port(), "other"));
      {
        Group group(options_of(w, r, rendezvous.port(), "first"));
        Member(w, problem, group).pass(Pass{}, 1);
        if (r != 3) {
          others.arrive_and_wait();
          try {
            Member(w, problem, group).pass(short_pass(), 2);
            ADD_FAILURE() << "rank " << r << " did not notice";
          } catch (const Error& error) {
            EXPECT_EQ(error.fault().culprit_rank, 3u) << error.what();
          }
          noticed.count_down();
        }
        EXPECT_TRUE(eventually([&] { return noticed.try_wait(); }));
      }
      if (r != 3) {
        Group again(options_of(rest, r, rendezvous.port(), "rest"));
        Member(rest, rest_problem, again).pass(Pass{}, 3);
      }
      // Rank 3 comes late to this one too, but within its deadline.
      Member(w, problem, other).pass(Pass{}, 4);
    });
  for (std::thread& t : ranks) t.join();
}

// A rank leaves and the others call on: they are told long before a deadline.
class LeavingRank : public testing::TestWithParam<uint32_t> {};
TEST_P(LeavingRank, IsNamedLongBeforeTheDeadline) {
  const World w = world_of({2, 2}, {20});
  const reference::Problem problem = problem_of(w);
  ToldFaults seen;
  const auto call_on = [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    if (rank == GetParam()) return;
    Member(w, problem, group).pass(Pass{}, 2);
    ADD_FAILURE() << "rank " << rank << " did not notice";
  };
  run_faulty(w, seen, call_on, GetParam());
  ASSERT_EQ(seen.faults.size(), w.ranks() - 1);
  for (const Fault& f : seen.faults) {
    EXPECT_EQ(f.culprit_rank, GetParam()) << f.to_string();
    EXPECT_EQ(f.kind, FaultKind::kAbsent) << f.to_string();
    EXPECT_LT(f.after_ms, w.deadline_ms / 2) << f.to_string();
  }
}
INSTANTIATE_TEST_SUITE_P(Each, LeavingRank, testing::Values(0, 1, 2, 3));

// A rank comes to a call a moment after the deadline of the others: all go on, and their group lives, or all name it.
// True: they went on.
bool late_rank_is_forgiven(const World& w, const reference::Problem& problem) {
  ToldFaults seen;
  std::latch others(w.ranks() - 1);  // it is late for those whose waits have begun
  run_faulty(w, seen, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    if (rank == 1) {
      others.wait();
      std::this_thread::sleep_for(std::chrono::milliseconds(kShortMs + 20));
    } else {
      others.arrive_and_wait();
    }
    Member(w, problem, group).pass(short_pass(), 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(600));  // a verdict would have come
    Member(w, problem, group).pass(Pass{}, 3);
  });
  EXPECT_TRUE(seen.faults.empty() || seen.faults.size() == w.ranks()) << seen.faults.size();
  for (const Fault& f : seen.faults) EXPECT_EQ(f.culprit_rank, 1u) << f.to_string();
  return seen.faults.empty();
}

// It is named where the others' wait ends too late for the arbiter, on a busy machine: not every time.
class LateRank : public testing::TestWithParam<std::vector<uint32_t>> {};
TEST_P(LateRank, IsForgivenOrNamed) {
  World w = world_of({2, 2}, {20});
  w.node_sizes = GetParam();
  const reference::Problem problem = problem_of(w);
  if (on_gpus()) {  // a kernel leaves when its wait expires, and cannot take it back
    EXPECT_FALSE(late_rank_is_forgiven(w, problem));
    return;
  }
  bool forgiven = false;
  for (int round = 0; round < 20 && !forgiven && !HasFailure(); ++round) forgiven = late_rank_is_forgiven(w, problem);
  EXPECT_TRUE(forgiven);
}
INSTANTIATE_TEST_SUITE_P(Each, LateRank,
                         testing::Values(std::vector<uint32_t>{1, 1}, std::vector<uint32_t>{2, 2},
                                         std::vector<uint32_t>{3}));

// A rank that is late, but not past the deadline, is nobody's fault.
// Contract 8.12.
TEST(Faults, LateIsNoFault) {
  World w = world_of({2, 2}, {20});
  w.deadline_ms = 2 * kShortMs;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    for (uint32_t i = 0; i < 3; ++i) {
      if (rank == i) std::this_thread::sleep_for(std::chrono::milliseconds(w.deadline_ms / 2));
      Member(w, problem, group).pass(Pass{}, i);
    }
  });
}

}  // namespace
}  // namespace transload::test
