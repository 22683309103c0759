// Calls that are captured once and replayed, with another routing in the same tensors each time. On the host nothing is
// captured, and a replay is the same calls made again: what they tell is alike.
#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/support/team.h"

namespace transload::test {
namespace {

constexpr const char* kNoGraphs = "ranks are on the host, where nothing is captured";
constexpr int64_t kReplayTokens = 24;

World replayed_world(std::vector<uint32_t> node_sizes) {
  World w = world_of(std::move(node_sizes), {kReplayTokens});
  w.columns = 40;
  w.channels = 3;
  return w;
}

// One routing for each turn. Rank 1 asks for an expert that there is not in turn 2.
reference::Problem problem_of_turn(World w, uint64_t turn, const std::vector<int64_t>& rows_max) {
  w.seed = 40 + turn;
  reference::Problem problem = problem_of(w);
  if (turn == 2 && w.ranks() > 1) problem.routes[1].ids[size_t(5) * w.top_k + 1] = 1000;
  reference::limit_rows(problem, rows_max);
  return problem;
}

// What a rank gives to its calls, at one place for all turns.
struct GivenReplay {
  const World& world;
  const uint32_t rank;
  TensorHome& side;
  DispatchInputs in;

  GivenReplay(const World& w, uint32_t r) : world(w), rank(r), side(side_of(r)) {
    const std::vector<char> zeros(size_t(kReplayTokens) * w.columns * 2);
    const auto view = [&](int64_t columns, DLDataType type) {
      return side.put(matrix(kept_.emplace_back(zeros).data(), kReplayTokens, columns, type));
    };
    kept_.reserve(3);
    in.x = view(w.columns, kBf16);
    in.topk_idx = view(w.top_k, kI32);
    in.topk_weights = view(w.top_k, kF32);
    in.stream = side.stream();
    in.overflow = Overflow::kDrop;
  }

  void turn_to(const reference::Problem& problem, uint64_t turn) {
    std::vector<uint16_t> x;
    for (int64_t t = 0; t < kReplayTokens; ++t)
      for (uint32_t c = 0; c < world.columns; ++c) x.push_back(element(turn, rank, t, c));
    const reference::Routes& routes = problem.routes[rank];
    side.write(in.x.data, x.data(), in.x.bytes());
    side.write(in.topk_idx.data, routes.ids.data(), in.topk_idx.bytes());
    side.write(in.topk_weights.data, routes.weights.data(), in.topk_weights.bytes());
  }

 private:
  std::vector<std::vector<char>> kept_;
};

// A dispatch, and a combine of the rows as they came, cut into other channels.
struct Calls {
  DispatchOutputs out;
  CombineOutputs sums;

  void make(Group& group, const DispatchInputs& in) {
    out = group.dispatch(in);
    CombineInputs back;
    back.x = out.x;
    back.handle = out.handle;
    back.channels = 2;
    back.stream = in.stream;
    sums = group.combine(back);
  }
};

void check_rows(const GivenReplay& given, const reference::Received& want, const Tensor& there, uint64_t turn) {
  const Tensor x = given.side.take(there);
  for (size_t i = 0; i < want.source.size(); ++i)
    for (uint32_t c = 0; c < given.world.columns; ++c)
      ASSERT_EQ(x.as<uint16_t>()[i * given.world.columns + c],
                element(turn, want.source[i].rank, want.source[i].token, c))
          << "turn " << turn << ", row " << i << ", column " << c;
}

void check_sums(const GivenReplay& given, const reference::Problem& problem, const Tensor& there, uint64_t turn) {
  const Tensor sums = given.side.take(there);
  std::vector<uint16_t> want(given.world.columns), row(given.world.columns);
  for (int64_t t = 0; t < kReplayTokens; ++t) {
    reference::sum(
        problem, {{given.rank, t}, int64_t(given.world.columns), false, {nullptr, nullptr}},
        [&](uint32_t, reference::Source s) {
          for (uint32_t c = 0; c < given.world.columns; ++c) row[c] = element(turn, s.rank, s.token, c);
          return row.data();
        },
        want.data());
    for (uint32_t c = 0; c < given.world.columns; ++c)
      ASSERT_EQ(sums.as<uint16_t>()[size_t(t) * given.world.columns + c], want[c])
          << "turn " << turn << ", token " << t << ", column " << c;
  }
}

// Contract 6.1.
TEST(Replays, OtherRoutingsInTheSameTensors) {
  for (const World& w : {replayed_world({4}), replayed_world({2, 2}), replayed_world({1, 3})}) {
    const std::vector<int64_t> rows_max = {kReplayTokens * 4, 9, 40, 1};
    run_team(w, [&](Group& group, uint32_t rank) {
      GivenReplay given(w, rank);
      given.in.rows_max = rows_max[rank];
      given.in.expert_alignment = 4;
      Calls calls;
      const auto replay = given.side.record([&] { calls.make(group, given.in); });
      if (on_gpus()) {
        EXPECT_EQ(group.report(calls.out.handle, given.in.stream).call, 0u);
      }
      group.gather("recorded");
      for (uint64_t turn = 1; turn <= 4; ++turn) {
        const reference::Problem problem = problem_of_turn(w, turn, rows_max);
        const reference::Received want = reference::received_by(problem, rank, 4);
        given.turn_to(problem, turn);
        replay();
        group.wait(given.in.stream);
        const DispatchReport report = group.report(calls.out.handle, given.in.stream);
        EXPECT_EQ(report.call, 2 * turn - 1);
        EXPECT_EQ(report.rows, int64_t(want.source.size()));
        EXPECT_EQ(report.rows_needed, want.needed);
        EXPECT_EQ(report.expert_counts, want.expert_counts);
        const Code dropped = report.rows < report.rows_needed ? Code::kTooManyRows : Code::kOk;
        EXPECT_EQ(report.status.code, turn == 2 && rank == 1 ? Code::kBadExpertId : dropped) << "turn " << turn;
        check_rows(given, want, calls.out.x, turn);
        check_sums(given, problem, calls.sums.x, turn);
      }
      group.gather("done");  // a graph goes while no rank waits for another
    });
  }
}

// Room is too little in some turns, on one rank. Whoever waits hears of it, once.
TEST(Replays, FailForRoom) {
  const World w = replayed_world({2, 2});
  World crowded = w;
  crowded.route = [](uint32_t, int64_t, uint32_t k) { return k == 0 ? 5 : -1; };  // all to rank 2
  const reference::Problem few = problem_of(w), all = problem_of(crowded);
  run_team(w, [&](Group& group, uint32_t rank) {
    GivenReplay given(w, rank);
    const int64_t most = int64_t(reference::received_by(few, rank).source.size()), came = kReplayTokens * 4;
    ASSERT_LT(most, came);
    given.in.rows_max = rank == 2 ? most : came;
    given.in.overflow = Overflow::kFail;
    DispatchOutputs out;
    const auto replay = given.side.record([&] { out = group.dispatch(given.in); });
    group.gather("recorded");
    const std::string text = "rows_max: " + std::to_string(most) + ", but " + std::to_string(came) +
                             " rows came: the " + std::to_string(came - most) +
                             " last rows have no room; the group is still usable";
    for (const auto& [problem, times] :
         {std::pair{&few, 1}, {&all, 1}, {&few, 1}, {&all, on_gpus() ? 2 : 1}, {&few, 1}}) {
      given.turn_to(*problem, 7);
      const bool fails = rank == 2 && problem == &all;
      try {
        for (int i = 0; i < times; ++i) replay();
        group.wait(given.in.stream);
        EXPECT_FALSE(fails) << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_TRUE(fails) << error.what();
        EXPECT_EQ(error.code(), Code::kTooManyRows);
        EXPECT_EQ(error.what(), text + (times == 2 ? "; the last of 2 dispatches that failed so" : ""));
      }
      group.wait(given.in.stream);
      if (fails && !on_gpus()) continue;  // there it left no outputs
      const DispatchReport report = group.report(out.handle, given.in.stream);
      EXPECT_EQ(report.status.message, fails ? text : "");
      const reference::Received want = reference::received_by(*problem, rank);
      EXPECT_EQ(report.rows_needed, want.needed);
      if (!fails) check_rows(given, want, out.x, 7);
    }
    group.gather("done");
  });
}

// The caller drops all that a captured call gave it, and what it can get of the slabs is written over.
// Contract 4.2.
TEST(Replays, KeepWhatTheyUse) {
  if (!on_gpus()) GTEST_SKIP() << kNoGraphs;
  const World w = replayed_world({2, 2});
  const std::vector<int64_t> rows_max(4, kReplayTokens * 4);
  run_team(w, [&](Group& group, uint32_t rank) {
    GivenReplay given(w, rank);
    given.in.rows_max = rows_max[rank];
    const size_t before = group.memory().leased_bytes;
    Tensor x, sums;
    auto replay = given.side.record([&] {
      Calls calls;
      calls.make(group, given.in);
      x = calls.out.x;
      sums = calls.sums.x;
    });
    EXPECT_GT(group.memory().leased_bytes, before);
    std::vector<Lease> rest;
    constexpr size_t kBytes = 64 << 10;
    const std::vector<char> blank(kBytes, 0x5A);
    try {
      for (;;) {
        rest.push_back(group.lease(kBytes));
        given.side.write(rest.back().data(), blank.data(), kBytes);
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kOutOfMemory);
    }
    group.gather("recorded");
    for (uint64_t turn = 1; turn <= 3; ++turn) {
      const reference::Problem problem = problem_of_turn(w, turn, rows_max);
      given.turn_to(problem, turn);
      replay();
      group.wait(given.in.stream);
      check_rows(given, reference::received_by(problem, rank), x, turn);
      check_sums(given, problem, sums, turn);
    }
    group.gather("done");
    rest.clear();
    replay = nullptr;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(w.deadline_ms);
    while (group.memory().leased_bytes > before && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    EXPECT_EQ(group.memory().leased_bytes, before) << "the graph is gone, and what it kept is not";
  });
}

// Groups go while replays of their calls run and more are queued; graphs may be replayed even later.
TEST(Replays, OutliveTheirGroup) {
  if (!on_gpus()) GTEST_SKIP() << kNoGraphs;
  const World w = replayed_world({2, 2});
  const std::vector<int64_t> rows_max(4, kReplayTokens * 4);
  Rendezvous rendezvous;
  std::barrier meet(std::ptrdiff_t(w.ranks()));
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      auto group = std::make_unique<Group>(options_of(w, r, rendezvous.port()));
      GivenReplay given(w, r);
      given.in.rows_max = rows_max[r];
      Calls calls;
      auto replay = given.side.record([&] { calls.make(*group, given.in); });
      meet.arrive_and_wait();
      for (uint64_t turn = 1; turn <= 3; ++turn) {
        const reference::Problem problem = problem_of_turn(w, turn, rows_max);
        const reference::Received want = reference::received_by(problem, r);
        given.turn_to(problem, turn);
        meet.arrive_and_wait();  // all have written, nobody's kernels run
        for (int i = 0; i < 5; ++i) replay();
        group.reset();
        EXPECT_EQ(given.side.take(calls.out.rows_on_device).as<int64_t>()[0], want.needed);
        check_rows(given, want, calls.out.x, turn);
        check_sums(given, problem, calls.sums.x, turn);
        meet.arrive_and_wait();
      }
      replay = nullptr;
    });
  for (std::thread& t : ranks) t.join();
  run_passes(w, {Pass{}});  // a new group, in the same contexts
}

TEST(Replays, CapturesThatAreRefused) {
  if (!on_gpus()) GTEST_SKIP() << kNoGraphs;
  const World w = replayed_world({2});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    GivenReplay given(w, rank);
    given.turn_to(problem, 1);
    const auto refused = [&](const std::function<void()>& calls, const std::string& want) {
      try {
        given.side.record(calls);
        ADD_FAILURE() << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::kInvalidArgument);
        EXPECT_NE(std::string(error.what()).find(want), std::string::npos) << error.what();
      }
    };
    refused([&] { group.dispatch(given.in); }, "rows_max: 0 while the stream is captured, must be at least 1");
    given.in.rows_max = kReplayTokens * 2;
    refused([&] { group.report(group.dispatch(given.in).handle, given.in.stream); },
            "stream: captured, must not be while a report is asked for");
    group.gather("refused");
    Member(w, problem, group).pass(Pass{}, 4);
  });
}

// One rank does not come to a replay. All name it, though no host knew that a call began.
TEST(Replays, ARankThatStaysAway) {
  World w = replayed_world({2, 2});
  w.deadline_ms = 1200;
  const std::vector<int64_t> rows_max(4, kReplayTokens * 4);
  constexpr uint32_t kAway = 3;
  run_team(w, [&](Group& group, uint32_t rank) {
    GivenReplay given(w, rank);
    given.in.rows_max = rows_max[rank];
    Calls calls;
    auto replay = given.side.record([&] { calls.make(group, given.in); });
    group.gather("recorded");
    const reference::Problem problem = problem_of_turn(w, 1, rows_max);
    given.turn_to(problem, 1);
    replay();
    group.wait(given.in.stream);
    check_sums(given, problem, calls.sums.x, 1);
    group.gather("a good one");
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(10 * w.deadline_ms);
    try {
      if (rank != kAway) replay();
      do {
        group.wait(given.in.stream);  // whoever stays away hears of it later
        std::this_thread::yield();
      } while (rank == kAway && std::chrono::steady_clock::now() < until);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kFault) << error.what();
      EXPECT_EQ(error.fault().culprit_rank, kAway) << error.what();
      EXPECT_EQ(error.fault().kind, FaultKind::kAbsent) << error.what();
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // leave only when the others know
    }
    EXPECT_THROW(group.report(calls.out.handle, given.in.stream), Error);
  });
}

// Which call, and whether one is in flight: on a GPU some milliseconds late.
TEST(Progress, OfTheLastCall) {
  const World w = replayed_world({1});
  Rendezvous rendezvous;
  Progress progress{};
  GroupOptions options = options_of(w, 0, rendezvous.port());
  options.progress = &progress;
  Group group(options);
  Member(w, problem_of(w), group).pass(Pass{}, 4);
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(w.deadline_ms);
  const auto rests = [&] { return progress.phase.load() == uint32_t(Phase::kIdle) && progress.epoch.load() == 4; };
  while (!rests() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(progress.epoch.load(), 4u);
  EXPECT_EQ(progress.phase.load(), uint32_t(Phase::kIdle));
}

}  // namespace
}  // namespace transload::test
