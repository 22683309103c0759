// Every rare situation of base/situations.h is reached, each by runs that provoke it and check their outputs.
#include "base/situations.h"

#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <latch>
#include <thread>

#include "channel/card.h"
#include "protocol/dispatch/sender.h"
#include "tests/support/patience.h"
#include "tests/support/plain_memory.h"
#include "tests/support/team.h"

namespace transload::test {
namespace {

#ifdef TRANSLOAD_SITUATIONS

Pass pass_of(Landing landing, CombineSource source) {
  Pass p;
  p.landing = landing;
  p.source = source;
  return p;
}

Pass without_room() {
  Pass p;
  p.rows_max = {1, 1, 1, 1};
  return p;
}

void one_slot() {
  World w = world_of({2, 2}, {60});
  w.slots = 1;
  run_passes(w, {Pass{}});
}

void forwarders_with_full_rings() {
  World w = world_of({3, 1}, {80});  // the second node's only rank forwards for three sources
  w.slots = 1;
  w.columns = 512;
  run_passes(w, {pass_of(Landing::kRing, CombineSource::kPush)});
}

// More partial sums at once than a link keeps in flight: each is a write of its own, because a slot has room for fp32.
void full_network() {
  World w = world_of({1, 1}, {1000});
  w.columns = 1024;
  w.channels = 8;
  w.slots = 512;
  w.scale_out = ScaleOutChoice::kLibfabric;
  run_passes(w, {Pass{}});
}

void late_rank() {
  const World w = world_of({2, 2}, {20});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    Member(w, problem, group).pass(Pass{}, 1);
  });
}

// Rank 3 does not come to `last_call`, which has a deadline of its own, and all others are told.
struct AbsentCall {
  static constexpr uint32_t kDeadlineMs = 1500;
  std::barrier<>& others;
  bool away;

  template <class Call>
  void call(Call last_call) const {
    if (away) return;
    others.arrive_and_wait();
    last_call();
  }
};
void absent(const std::function<void(Group&, const reference::Problem&, const AbsentCall&)>& body) {
  const World w = world_of({2, 2}, {20});
  const reference::Problem problem = problem_of(w);
  std::barrier others(3);
  std::latch told(3);
  run_team(w, [&](Group& group, uint32_t rank) {
    try {
      body(group, problem, {others, rank == 3});
      if (rank != 3) ADD_FAILURE() << "rank " << rank << " did not notice";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kFault) << error.what();
      EXPECT_EQ(error.fault().culprit_rank, 3u) << error.what();
      EXPECT_EQ(error.fault().kind, FaultKind::kAbsent) << error.what();
    }
    if (rank != 3) told.count_down();
    EXPECT_TRUE(eventually([&] { return told.try_wait(); }));  // rank 3 is there, to be found absent and not lost
  });
}

struct Job {
  std::vector<uint16_t> x;
  DispatchInputs dispatch;
  Job(Group& group, const reference::Problem& problem) {
    const reference::Routes& routes = problem.routes[group.rank()];
    x.resize(size_t(routes.tokens) * 8);
    dispatch.x = matrix(x.data(), routes.tokens, 8, kBf16);
    dispatch.topk_idx = matrix(routes.ids.data(), routes.tokens, problem.top_k, kI32);
    dispatch.topk_weights = matrix(routes.weights.data(), routes.tokens, problem.top_k, kF32);
  }
};

void refused_by_one() {
  const World w = world_of({2, 2}, {20});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t) {
    Job job(group, problem);
    if (group.rank() == 1) job.dispatch.x.dtype = kF32;
    EXPECT_THROW(group.dispatch(job.dispatch), Error);
    Member(w, problem, group).pass(Pass{}, 1);
  });
}

void absent_in_notify() {
  absent([](Group& group, const reference::Problem& problem, const AbsentCall& last) {
    Job job(group, problem);
    job.dispatch.deadline_ms = AbsentCall::kDeadlineMs;
    last.call([&] { group.dispatch(job.dispatch); });
  });
}

void absent_in_dispatch() {
  absent([](Group& group, const reference::Problem& problem, const AbsentCall& last) {
    Job job(group, problem);
    const DispatchOutputs out = group.dispatch(job.dispatch);
    DispatchInputs again;
    again.x = job.dispatch.x;
    again.handle = out.handle;
    again.deadline_ms = AbsentCall::kDeadlineMs;
    last.call([&] { group.dispatch(again); });
  });
}

void absent_in_combine() {
  absent([](Group& group, const reference::Problem& problem, const AbsentCall& last) {
    Job job(group, problem);
    const DispatchOutputs out = group.dispatch(job.dispatch);
    CombineInputs combine;
    combine.handle = out.handle;
    combine.x = out.x;
    combine.deadline_ms = AbsentCall::kDeadlineMs;
    last.call([&] { group.combine(combine); });
  });
}

// A provider may keep a source for longer than the receiver needs to take the row; TCP here never does. So this one
// wait is made by hand: the second token of a ring of one slot, credited, its slot still being read.
void slow_reader() {
  static const RankTable table({1, 1});
  Board board{};
  board.map = table.seen_by(0);
  board.geometry = {2, 2, 1, 1, 1, 1, 1, 1, 64, 64};
  board.net = NetworkRegion::plan(board.geometry, sizeof(Card));
  std::vector<Word> network(board.net.bytes / 8), sent(2, 1), drained(2, 0);
  char* const unmapped[2] = {nullptr, nullptr};
  const Counterpart rails[2] = {{}, {1, 0}};
  board.network = reinterpret_cast<char*>(network.data());
  board.mapped = unmapped;
  board.rails = rails;
  network[board.net.dispatch.credit.at(0, 1) / 8] = 1;
  PlainWarp warp;
  warp.memory.on_park = [&](const Park& park) {
    EXPECT_EQ(park.needs[0].what, Waiting::kDrained);
    drained[1] = 1;
  };
  const Positions positions{sent.data(), nullptr, drained.data()};
  using W = PlainWarp::Warp;
  Outbox<W, RailLink> out(*warp, RailLink{&board, &board.net.dispatch, &positions, rails, 2});
  out.begin(*warp, 0, Members::only(1));
  make_room(*warp, Set::only(0), out, [](Lane) { return 1; });
  EXPECT_EQ(warp.memory.parks, 1);
  EXPECT_TRUE(out.credited(1) && out.drained(1));
}

void provoke(Situation situation) {
  World few = world_of({2, 2}, {2});
  few.channels = 5;
  World without_slabs = world_of({2, 2}, {20});
  without_slabs.slab_bytes = 0;
  const World plain = world_of({2, 2}, {20});
  switch (situation) {
    case Situation::kRingFull:
      return one_slot();
    case Situation::kRingWrap:
      return one_slot();
    case Situation::kDrainWait:
      return slow_reader();
    case Situation::kChannelEmpty:
      return run_passes(few, {Pass{}});
    case Situation::kRankEmpty:
      return run_passes(world_of({2, 2}, {5, 0, 7, 9}), {Pass{}});
    case Situation::kLandingDirect:
      return run_passes(plain, {pass_of(Landing::kDirect, CombineSource::kAuto)});
    case Situation::kLandingRing:
      return run_passes(plain, {pass_of(Landing::kRing, CombineSource::kAuto)});
    case Situation::kSourcePull:
      return run_passes(plain, {pass_of(Landing::kAuto, CombineSource::kPull)});
    case Situation::kSourcePush:
      return run_passes(plain, {pass_of(Landing::kAuto, CombineSource::kPush)});
    case Situation::kCachedDispatch:
      return run_passes(plain, {Pass{}});
    case Situation::kForwarderBlocked:
      return forwarders_with_full_rings();
    case Situation::kRowsDropped:
    case Situation::kAllDropped:
      return run_passes(plain, {without_room()});
    case Situation::kSlabExhausted:
      return run_passes(without_slabs, {Pass{}});
    case Situation::kQueueFull:
      return full_network();
    case Situation::kSlept:
      return late_rank();
    case Situation::kRefusedAlike:
      return refused_by_one();
    case Situation::kAbortInNotify:
      return absent_in_notify();
    case Situation::kAbortInDispatch:
      return absent_in_dispatch();
    case Situation::kAbortInCombine:
      return absent_in_combine();
    case Situation::kCount:
      break;
  }
  FAIL() << "nothing provokes situation " << int(situation);
}

#endif

class Situations : public ::testing::TestWithParam<int> {};

std::string name_of(const ::testing::TestParamInfo<int>& info) { return kSituationNames[info.param]; }
INSTANTIATE_TEST_SUITE_P(All, Situations, ::testing::Range(0, int(Situation::kCount)), name_of);

TEST_P(Situations, AreReached) {
#ifdef TRANSLOAD_SITUATIONS
  if (on_gpus()) GTEST_SKIP() << kHostSituations;
  const auto situation = Situation(GetParam());
  const uint64_t before = times_reached(situation);
  // Some depend on who is faster: not every run meets them.
  for (int attempt = 0; attempt < 20 && times_reached(situation) == before && !HasFailure(); ++attempt)
    provoke(situation);
  EXPECT_GT(times_reached(situation), before) << kSituationNames[GetParam()];
#else
  GTEST_SKIP() << "built without TRANSLOAD_SITUATIONS; the sanitizers' builds have them";
#endif
}

}  // namespace
}  // namespace transload::test
