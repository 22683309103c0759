// rows_max: fewer places than rows. What is kept, what is dropped, what is said, and what is left alone.
#include <gtest/gtest.h>

#include <barrier>

#include "tests/support/team.h"

namespace transload::test {
namespace {

World bounded_world(std::vector<uint32_t> node_sizes) {
  World w = world_of(std::move(node_sizes), {24});
  w.channels = 3;
  return w;
}

// Both landings, both sources; then the same with nothing dropped.
std::vector<Pass> passes_with(const std::vector<int64_t>& rows_max) {
  std::vector<Pass> passes(4);
  for (Pass& p : passes) {
    p.weights = true;
    p.scales = 2;
    p.rows_max = rows_max;
  }
  passes[1].landing = Landing::kRing;
  passes[1].source = CombineSource::kPush;
  passes[1].wide_out = true;
  passes[2].biases = 2;
  passes[2].alignment = 16;
  passes[2].wide_out = true;
  passes[2].channels = 1;
  passes[3].rows_max.clear();
  return passes;
}

std::vector<int64_t> of_all(const World& w, int64_t rows_max) { return std::vector<int64_t>(w.ranks(), rows_max); }

TEST(RowsMax, OneRow) {
  for (const World& w : {bounded_world({4}), bounded_world({2, 2}), bounded_world({1, 3})})
    run_passes(w, passes_with(of_all(w, 1)));
}

TEST(RowsMax, OfSomeRanks) { run_passes(bounded_world({2, 2}), passes_with({0, 7, 40, 1})); }

// Exactly what comes, one less, and more than comes.
// Contract 6.2.
TEST(RowsMax, AroundWhatComes) {
  const World w = bounded_world({2, 3});
  const reference::Problem problem = problem_of(w);
  for (int64_t more : {-1, 0, 1}) {
    std::vector<int64_t> rows_max;
    for (uint32_t r = 0; r < w.ranks(); ++r)
      rows_max.push_back(int64_t(reference::received_by(problem, r).source.size()) + more);
    run_passes(w, passes_with(rows_max));
  }
}

TEST(RowsMax, AllToOneRank) {
  World w = bounded_world({2, 2});
  w.route = [](uint32_t, int64_t token, uint32_t k) { return k == 0 ? 7 : token % 3 == 0 ? int32_t(k) : -1; };
  run_passes(w, passes_with({0, 0, 0, 5}));
}

struct Call {
  std::vector<uint16_t> x;
  TensorHome& side;
  DispatchInputs in;
  Call(const World& w, const reference::Problem& problem, uint32_t rank) : side(side_of(rank)) {
    const reference::Routes& routes = problem.routes[rank];
    for (int64_t t = 0; t < routes.tokens; ++t)
      for (uint32_t c = 0; c < w.columns; ++c) x.push_back(element(1, rank, t, c));
    in.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
    in.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, problem.top_k, kI32));
    in.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, problem.top_k, kF32));
    in.stream = side.stream();
  }
};

std::string too_many(int64_t needed, int64_t most) {
  return "rows_max: " + std::to_string(most) + ", but " + std::to_string(needed) + " rows came: the " +
         std::to_string(needed - most) + " last rows have no room; the group is still usable";
}

// One rank has no room and says so; all others have their rows, and the group is still usable.
// Contract 6.2.
TEST(RowsMax, FailsOnThatRankAlone) {
  const World w = bounded_world({2, 2});
  const reference::Problem problem = problem_of(w);
  for (Landing landing : {Landing::kAuto, Landing::kRing})
    run_team(w, [&](Group& group, uint32_t rank) {
      Call call(w, problem, rank);
      const int64_t needed = int64_t(reference::received_by(problem, rank).source.size());
      call.in.landing = landing;
      call.in.rows_max = rank == 2 ? 3 : needed;
      DispatchOutputs out;
      try {
        out = group.dispatch(call.in);
        group.wait(call.in.stream);
        EXPECT_NE(rank, 2u) << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(rank, 2u) << error.what();
        EXPECT_EQ(error.code(), Code::kTooManyRows);
        EXPECT_EQ(std::string(error.what()), too_many(needed, 3));
      }
      EXPECT_EQ(out.handle != nullptr, on_gpus() || rank != 2);
      if (out.handle) {
        const DispatchReport report = group.report(out.handle, call.in.stream);
        EXPECT_EQ(report.rows_needed, needed);
        EXPECT_EQ(report.rows, rank == 2 ? 3 : needed);
        EXPECT_EQ(report.status.message, rank == 2 ? too_many(needed, 3) : "");
      }
      group.wait(call.in.stream);  // it is told once
      Member(w, problem, group).pass(Pass{}, 4);
    });
}

// Behind the rows of the caller nothing is written, in a lease (direct) and outside of one (ring).
TEST(RowsMax, NothingBehindIsWritten) {
  const World w = bounded_world({2, 2});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Call call(w, problem, rank);
    const size_t row_bytes = w.columns * 2, room = 5 * row_bytes, behind = 60 * row_bytes;
    const Lease lease = group.lease(room + behind);
    const std::vector<char> blank(room + behind, 0x5A);
    char* const own = static_cast<char*>(call.side.room(room + behind));
    for (char* at : {static_cast<char*>(lease.data()), own}) {
      call.side.write(at, blank.data(), blank.size());
      call.in.rows_max = 5;
      call.in.overflow = Overflow::kDrop;
      call.in.out_x = matrix(at, 5, w.columns, kBf16);
      call.in.out_x.device = call.side.device();
      const DispatchOutputs out = group.dispatch(call.in);
      EXPECT_EQ(out.landing, at == own ? Landing::kRing : Landing::kDirect);
      const DispatchReport report = group.report(out.handle, call.in.stream);
      ASSERT_GT(report.rows_needed, 5);
      EXPECT_EQ(report.status.code, Code::kTooManyRows);
      EXPECT_EQ(report.status.message, "rows_max: 5, but " + std::to_string(report.rows_needed) + " rows came: the " +
                                           std::to_string(report.rows_needed - 5) + " last rows were dropped");
      Tensor all = matrix(at, 1, int64_t(room + behind), kU8);
      all.device = call.side.device();
      const char* const left = call.side.take(all).as<char>();
      for (size_t i = room; i < room + behind; ++i) ASSERT_EQ(left[i], 0x5A) << "byte " << i - room << " behind";
      DispatchInputs again;
      again.stream = call.in.stream;
      again.x = call.in.x;
      again.handle = out.handle;
      again.rows_max = 6;
      EXPECT_THROW(group.dispatch(again), Error);
    }
  });
}

// Rank 0's rows are longer than rank 1 has room for. On GPUs the kernel that moves rows is under way before the host
// can know that the cards differ: it must move none.
TEST(RowsMax, NothingIsStoredAfterCardsThatDiffer) {
  World w = bounded_world({2});
  w.columns = 64;
  const reference::Problem problem = problem_of(w);
  std::barrier both(2);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    Call call(w, problem, rank);
    const size_t bytes = size_t(24 * 2) * w.columns * 2;
    const Lease lease = group.lease(bytes);
    const std::vector<char> blank(bytes, 0x5A);
    call.side.write(lease.data(), blank.data(), bytes);
    const int64_t columns = rank == 0 ? 64 : 8;
    call.in.x.shape[1] = call.in.x.strides[0] = columns;
    call.in.rows_max = 24 * 2;
    call.in.out_x = matrix(lease.data(), 24 * 2, columns, kBf16);
    call.in.out_x.device = call.side.device();
    both.arrive_and_wait();
    try {
      group.dispatch(call.in);
      group.wait(call.in.stream);
      ADD_FAILURE() << "rank " << rank << " returned";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kFault) << error.what();
    }
    both.arrive_and_wait();  // the kernels of both have left
    Tensor all = matrix(lease.data(), 1, int64_t(bytes), kU8);
    all.device = call.side.device();
    const char* const left = call.side.take(all).as<char>();
    for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(left[i], 0x5A) << "rank " << rank << ", byte " << i;
  });
}

// An id out of range, told of the call that it came in and of no other.
// Contract 7.7.
TEST(RowsMax, BadExpertIds) {
  World w = bounded_world({2, 2});
  const reference::Problem good = problem_of(w);
  w.route = [&](uint32_t rank, int64_t token, uint32_t k) {
    return rank == 1 && token == 3 && k == 2 ? 1000 : int32_t((token + k) % 8);
  };
  const reference::Problem bad = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    std::vector<Handle> handles;
    for (const reference::Problem* problem : {&good, &bad, &good}) {
      Call call(w, *problem, rank);
      call.in.rows_max = 24 * w.ranks();
      const DispatchOutputs out = group.dispatch(call.in);
      handles.push_back(out.handle);
      group.wait(call.in.stream);
    }
    for (size_t i = 0; i < handles.size(); ++i) {
      const DispatchReport report = group.report(handles[i], side_of(rank).stream());
      EXPECT_EQ(report.call, i + 1);
      EXPECT_EQ(report.status.code, rank == 1 && i == 1 ? Code::kBadExpertId : Code::kOk);
      EXPECT_EQ(report.status.message,
                rank == 1 && i == 1 ? "topk_idx: 1000 at token 3, slot 2, must be -1 to 7; counted as -1" : "");
    }
    EXPECT_THROW(group.report(nullptr), Error);
    Member(w, bad, group).pass(Pass{}, 4);
  });
}

}  // namespace
}  // namespace transload::test
