// What only GPUs refuse or run out of: SMs, and room in the slabs, for which a host has its heap. And what their
// kernels alone could get wrong: addresses that the copy engine does not take, what lay in a lease before.
#include <gtest/gtest.h>
#include <malloc.h>

#include <barrier>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gpu/device_info.h"
#include "tests/support/allocations.h"
#include "tests/support/refusal.h"
#include "tests/support/team.h"

namespace transload::test {
namespace {

uint32_t sms_of_gpu() { return find_devices().devices.at(0).sms; }

World one_rank() {
  World w;
  w.node_sizes = {1};
  w.tokens = {12};
  return w;
}

std::string refusal_of(const GroupOptions& options) {
  return refusal([&] { const Group group(options); });
}

// A rank's first dispatch on a GPU; its rows are ones.
DispatchInputs ones_of(const World& w, const reference::Problem& problem, uint32_t rank, TensorHome& side) {
  const reference::Routes& routes = problem.routes[rank];
  const std::vector<uint16_t> x(size_t(routes.tokens) * w.columns, 0x3F80);
  DispatchInputs in;
  in.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
  in.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, w.top_k, kI32));
  in.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, w.top_k, kF32));
  in.stream = side.stream();
  return in;
}

// Two groups of this process take no more SMs than the GPU has; the first is none the worse for the second's refusal.
TEST(Devices, GroupsFitTogether) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  const World w = one_rank();
  const reference::Problem problem = problem_of(w);
  const uint32_t sms = sms_of_gpu();
  Rendezvous rendezvous;
  GroupOptions large = options_of(w, 0, rendezvous.port(), "large");
  GroupOptions small = options_of(w, 0, rendezvous.port(), "small");
  large.sms = sms - 1;
  small.sms = 2;
  {
    Group group(large);
    const std::string text = refusal_of(small);
    EXPECT_EQ(text.find("sms: 2, 2 in all of this group's ranks on a GPU, must be at most 1: other groups of this "
                        "process hold " +
                        std::to_string(sms - 1)),
              0u)
        << text;
    Member(w, problem, group).pass(Pass{}, 1);
    small.sms = 1;
    Group beside(small);
    Member(w, problem, beside).pass(Pass{}, 2);
    Member(w, problem, group).pass(Pass{}, 3);
  }
  small.sms = sms;
  Group alone(small);
  Member(w, problem, alone).pass(Pass{}, 4);
}

// A group that is refused once it has a stream and an event gives them back.
TEST(Devices, RefusedGroupsLeaveNothing) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  const World w = one_rank();
  Rendezvous rendezvous;
  GroupOptions large = options_of(w, 0, rendezvous.port(), "large");
  GroupOptions small = options_of(w, 0, rendezvous.port(), "small");
  large.sms = sms_of_gpu() - 1;
  small.sms = 2;
  const Group group(large);
  const auto refuse = [&](int times) {
    for (int i = 0; i < times; ++i) EXPECT_NE(refusal_of(small), "");
    return mallinfo2().uordblks;
  };
  constexpr int kTimes = 200;
  const size_t before = refuse(50), after = refuse(kTimes);
  EXPECT_LT(after, before + kTimes * 1024) << "bytes of heap";
}

// Ranks of one group on one GPU: all of them are told, alike.
TEST(Devices, RanksFitTogether) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = one_rank();
  w.node_sizes = {2};
  const uint32_t sms = sms_of_gpu() / 2 + 1;
  Rendezvous rendezvous;
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < 2; ++r)
    ranks.emplace_back([&, r] {
      GroupOptions options = options_of(w, r, rendezvous.port());
      options.device = {kDLCUDA, 0};
      options.sms = sms;
      const std::string text = refusal_of(options);
      EXPECT_EQ(text.find("sms: " + std::to_string(sms) + " on each of the ranks 0, 1 of one GPU, must be at most "),
                0u)
          << text;
    });
  for (std::thread& t : ranks) t.join();
}

// One thread calls both ranks of a GPU, on streams of their own: the one whose call would wait for the other's is
// refused, as long as that one has not been made.
TEST(Devices, OneThreadOfTwoRanks) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = one_rank();
  w.node_sizes = {2};
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  std::unique_ptr<Group> groups[2];
  std::vector<std::thread> makers;
  for (uint32_t r = 0; r < 2; ++r)
    makers.emplace_back([&, r] {
      GroupOptions options = options_of(w, r, rendezvous.port());
      options.device = {kDLCUDA, 0};
      groups[r] = std::make_unique<Group>(options);
    });
  for (std::thread& t : makers) t.join();
  TensorHome& side = side_of(0);
  DispatchInputs inputs[2];  // all there before a kernel waits
  for (uint32_t r = 0; r < 2; ++r) inputs[r] = ones_of(w, problem, r, side);
  inputs[1].stream = second_stream_of(0);
  const auto dispatch = [&](uint32_t r, int64_t rows_max) {
    inputs[r].rows_max = rows_max;
    return groups[r]->dispatch(inputs[r]);
  };
  const auto settle = [&] {
    for (uint32_t r = 0; r < 2; ++r) groups[r]->wait(inputs[r].stream);
  };
  const auto rows_of = [&](uint32_t r) { return int64_t(reference::received_by(problem, r).source.size()); };
  const int64_t most = 2 * w.tokens_of(0);
  for (uint32_t r = 0; r < 2; ++r) dispatch(r, most);
  settle();
  for (uint32_t r : {0u, 1u}) {
    const uint32_t other = 1 - r;
    try {
      dispatch(r, 0);
      ADD_FAILURE() << "rank " << r << " waited for a call of its own thread";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument) << error.what();
      EXPECT_EQ(std::string(error.what())
                    .find("rows_max: 0 in the thread that also calls rank " + std::to_string(other) + ", must be"),
                0u)
          << error.what();
    }
    dispatch(other, most);
    EXPECT_EQ(dispatch(r, 0).rows, rows_of(r));
    settle();
  }
  groups[0].reset();
  groups[1].reset();
}

// Memory runs out on rank 0 when others already count on its call: all hear at once that it has left, and why.
TEST(Devices, ACallThatIsLeft) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = one_rank();
  w.node_sizes = {2};
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    DispatchInputs in = ones_of(w, problem, rank, side_of(rank));
    group.gather("given");
    // An allocation that fails before anything was launched leaves the group as it was: the next one then.
    for (int after = 0; after < 100; ++after) {
      try {
        granted = rank == 0 ? after : -1;
        group.dispatch(in);
        granted = -1;
        group.wait(in.stream);  // the others' calls may have returned before
        ADD_FAILURE() << "rank " << rank << " returned, allocation " << after;
        return;
      } catch (const Error& error) {
        granted = -1;
        if (error.code() == Code::kOutOfMemory) {
          EXPECT_EQ(rank, 0u);
          continue;
        }
        EXPECT_EQ(error.code(), Code::kFault) << error.what();
        EXPECT_EQ(error.fault().culprit_rank, 0u) << error.what();
        EXPECT_NE(error.fault().detail.find("out of memory"), std::string::npos) << error.what();
        return;
      }
    }
    ADD_FAILURE() << "rank " << rank << ": nothing was thrown in the middle of a call";
  });
}

// A call's own deadline, not the group's, ends its waits.
TEST(Devices, DeadlineOfOneCall) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w = one_rank();
  w.node_sizes = {2};
  const reference::Problem problem = problem_of(w);
  std::barrier both(2);
  run_team(w, [&](Group& group, uint32_t rank) {
    Member(w, problem, group).pass(Pass{}, 1);
    if (rank == 1) return both.arrive_and_wait();  // stays away
    DispatchInputs in = ones_of(w, problem, rank, side_of(rank));
    in.deadline_ms = 300;
    try {
      group.dispatch(in);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault().culprit_rank, 1u) << error.what();
      EXPECT_LT(error.fault().after_ms, double(w.deadline_ms)) << error.what();
    }
    both.arrive_and_wait();
  });
}

// All room of the slabs, as long as the leases live.
std::vector<Lease> take_all(Group& group) {
  std::vector<Lease> held;
  for (size_t bytes = group.options().slab_bytes; bytes > 0;) {
    try {
      held.push_back(group.lease(bytes));
      if (held.back().registered()) continue;
      held.pop_back();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kOutOfMemory) << error.what();
    }
    bytes /= 2;
  }
  return held;
}

// Rank 1 has no room: on a GPU its call fails, and says so once it has done what the others count on.
void starved_call(uint32_t rank, const std::string& what, const std::function<void()>& call) {
  const bool starves = on_gpus() && rank == 1;
  try {
    call();
    EXPECT_FALSE(starves) << "nothing was thrown for want of " << what;
  } catch (const Error& error) {
    EXPECT_TRUE(starves) << error.what();
    EXPECT_EQ(error.code(), Code::kOutOfMemory);
    const std::string text = error.what();
    EXPECT_EQ(text.find("slab_bytes: no room for " + what + " of "), 0u) << text;
    EXPECT_NE(text.find("; the group is still usable"), std::string::npos) << text;
  }
}

// One expert for each token, whose rows go back as they came: a combine gives what was dispatched.
struct Echo {
  const World& world;
  Group& group;
  TensorHome& side;
  std::vector<uint16_t> x;
  DispatchInputs in;

  Echo(const World& w, const reference::Problem& problem, Group& g) : world(w), group(g), side(side_of(g.rank())) {
    const reference::Routes& routes = problem.routes[g.rank()];
    for (int64_t i = 0; i < routes.tokens * w.columns; ++i)
      x.push_back(uint16_t(0x3F80 + (uint64_t(i) * 5 + g.rank() * 31) % 4096));
    in.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
    in.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, 1, kI32));
    in.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, 1, kF32));
    in.stream = side.stream();
  }
  std::vector<uint16_t> values(const Tensor& there) {
    const Tensor here = side.take(there);
    return {here.as<uint16_t>(), here.as<uint16_t>() + here.rows() * here.columns()};
  }
  std::string bytes(const Tensor& t) const {
    const Tensor here = side.take(t);
    return here.bytes() == 0 ? std::string() : std::string(here.as<char>(), here.bytes());
  }
  void expect_back(const DispatchOutputs& out, const Tensor& rows, uint32_t channels) {
    CombineInputs back;
    back.x = rows;
    back.handle = out.handle;
    back.topk_weights = out.topk_weights;
    back.channels = channels;
    back.stream = in.stream;
    const CombineOutputs sums = group.combine(back);
    EXPECT_EQ(values(sums.x), x);
    EXPECT_EQ(bytes(sums.topk_weights), bytes(in.topk_weights));
  }
};

// No room for a handle, for rows, for sums: the others have theirs, and the group is still usable.
TEST(Starved, OnOneRank) {
  World w;
  w.node_sizes = {2, 2};
  w.tokens = {24, 17, 0, 24};
  w.top_k = 1;
  w.columns = 24;
  w.slab_bytes = 1 << 20;
  w.route = [](uint32_t rank, int64_t token, uint32_t) { return int32_t((rank * 3 + token * 5) % 8); };
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    Echo echo(w, problem, group);
    const DispatchOutputs first = group.dispatch(echo.in);
    const std::vector<uint16_t> rows = echo.values(first.x);
    echo.expect_back(first, first.x, 0);
    Tensor own = first.x;
    own.data = echo.side.room(rows.size() * 2);
    echo.side.write(own.data, rows.data(), rows.size() * 2);
    std::vector<Lease> held;
    if (rank == 1) held = take_all(group);
    const auto dispatch = [&](const DispatchInputs& in) {
      const DispatchOutputs out = group.dispatch(in);
      std::vector<uint16_t> found = echo.values(out.x);
      found.resize(rows.size());  // with rows_max there may be more places
      EXPECT_EQ(found, rows);
    };
    starved_call(rank, "a handle", [&] { dispatch(echo.in); });
    DispatchInputs bounded = echo.in;
    bounded.rows_max = int64_t(rows.size() / w.columns) + 3;
    starved_call(rank, "a handle", [&] { dispatch(bounded); });
    DispatchInputs cached;
    cached.x = echo.in.x;
    cached.handle = first.handle;
    cached.stream = echo.in.stream;
    for (uint32_t channels : {0u, 1u}) {
      cached.channels = channels;
      starved_call(rank, "the outputs of a dispatch", [&] { dispatch(cached); });
      starved_call(rank, "the outputs of a combine", [&] { echo.expect_back(first, first.x, channels); });
      starved_call(rank, "the outputs of a combine", [&] { echo.expect_back(first, own, channels); });
    }
    held.clear();
    dispatch(echo.in);
    echo.expect_back(first, first.x, 0);
    Member(w, problem, group).pass(Pass{}, 4);
  });
}

// Biases that the copy engine cannot load are summed all the same.
TEST(Addresses, OfBiases) {
  World w;
  w.node_sizes = {2, 2};
  w.tokens = {24};
  w.columns = 1032;
  std::vector<Pass> passes;
  for (const uint32_t off : {2u, 8u, 14u})
    for (const int biases : {1, 2}) {
      Pass p;
      p.biases = biases;
      p.bias_off = off;
      p.source = biases == 1 ? CombineSource::kPull : CombineSource::kPush;
      p.wire = off == 8 ? CombineWire::kF32 : CombineWire::kBf16;
      p.weights = true;
      passes.push_back(p);
    }
  run_passes(w, passes);
}

// Behind the rows that came there is no expert and no weight, whatever lay there, in each call and each replay.
TEST(Addresses, BehindTheRowsThatCame) {
  if (!on_gpus()) GTEST_SKIP() << kGpuOnly;
  World w;
  w.node_sizes = {2, 2};
  w.tokens = {24};
  w.slab_bytes = 1 << 20;
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    const reference::Routes& routes = problem.routes[rank];
    TensorHome& side = side_of(rank);
    const std::vector<uint16_t> x(size_t(routes.tokens) * w.columns, 0x3F80);
    const std::vector<char> dirt(w.slab_bytes, 0x5A);
    DispatchInputs in;
    in.x = side.put(matrix(x.data(), routes.tokens, w.columns, kBf16));
    in.topk_idx = side.put(matrix(routes.ids.data(), routes.tokens, w.top_k, kI32));
    in.topk_weights = side.put(matrix(routes.weights.data(), routes.tokens, w.top_k, kF32));
    in.stream = side.stream();
    const reference::Received want = reference::received_by(problem, rank);
    const auto check = [&](const DispatchOutputs& out, const std::vector<int32_t>& ids) {
      const Tensor idx = side.take(out.topk_idx), weights = side.take(out.topk_weights);
      const size_t choices = size_t(in.rows_max) * w.top_k;
      for (size_t i = 0; i < choices; ++i) {
        ASSERT_EQ(idx.as<int32_t>()[i], i < ids.size() ? ids[i] : -1) << "choice " << i;
        ASSERT_EQ(weights.as<float>()[i], i < ids.size() ? want.weights[i] : 0.0f) << "choice " << i;
      }
    };
    in.rows_max = int64_t(want.source.size()) + 37;
    for (const Landing landing : {Landing::kAuto, Landing::kRing}) {
      in.landing = landing;
      for (const Lease& lease : take_all(group)) side.write(lease.data(), dirt.data(), lease.bytes());
      group.gather("dirty");
      check(group.dispatch(in), want.ids);
    }
    DispatchOutputs out;
    const auto replay = side.record([&] { out = group.dispatch(in); });
    group.gather("recorded");
    replay();
    check(out, want.ids);
    const std::vector<int32_t> none(routes.ids.size(), -1);
    side.write(in.topk_idx.data, none.data(), none.size() * 4);
    group.gather("nobody is chosen");
    replay();
    check(out, {});
  });
}

}  // namespace
}  // namespace transload::test
