// Outputs in memory of the caller's, asked for by DispatchInputs::room and CombineInputs::room: where they land, and
// what becomes of a call whose room cannot be had.
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/support/given.h"
#include "tests/support/refusal.h"
#include "tests/support/sanitized.h"

namespace transload::test {
namespace {

World room_world(std::vector<uint32_t> node_sizes) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = {26};
  w.experts = 2 * w.ranks();
  w.top_k = 3;
  w.channels = 3;
  return w;
}

DispatchInputs inputs_at(TensorHome& side, const Given& given) {
  DispatchInputs in = given.in;
  in.stream = side.stream();
  for (Tensor* tensor : {&in.x, &in.topk_idx, &in.topk_weights}) *tensor = side.put(*tensor);
  return in;
}

// In memory that no peer reaches, and in leases; with each kind of output, and with none dropped, some, or all left.
std::vector<Pass> passes_of(const World& w) {
  std::vector<Pass> passes(6);
  for (size_t i = 0; i < passes.size(); ++i) {
    Pass& p = passes[i];
    p.homes = i % 2 == 0 ? Homes::kOwn : Homes::kOwnLeases;
    p.weights = i < 4;
    p.scales = i < 4 ? uint32_t(i) : 0;
    p.biases = int(i) % 3;
    p.wide_out = i % 3 == 1;
    p.source = i == 2 ? CombineSource::kPush : CombineSource::kAuto;
  }
  passes[3].landing = Landing::kDirect;
  passes[4].rows_max.assign(w.ranks(), 7);
  passes[5].rows_max.assign(w.ranks(), *std::max_element(w.tokens.begin(), w.tokens.end()) * w.ranks());
  return passes;
}

// Contract 7.9.
TEST(Room, OfTheCaller) {
  for (const World& w : {room_world({3}), room_world({2, 1})}) run_passes(w, passes_of(w));
}

TEST(Room, OfRanksThatReceiveAndSendNothing) {
  World w = room_world({2, 2});
  w.tokens = {0, 20, 0, 9};
  w.route = [](uint32_t, int64_t, uint32_t k) { return k == 0 ? 3 : -1; };  // all to rank 1
  run_passes(w, passes_of(w));
}

// What rank 1's room does: it fails for one output, in a call of one kind.
struct Failing {
  const char* what;
  const char* error;  // what the call says
  std::function<void*(Output, uint64_t, void* good)> room;
};
const std::vector<Failing> kFailing{
    {"throws", "no more of it", [](Output, uint64_t, void*) -> void* { throw std::runtime_error("no more of it"); }},
    {"is null", ": null, must be memory of ", [](Output, uint64_t, void*) -> void* { return nullptr; }},
    {"is not aligned", ", must be aligned to 16 bytes; the group is still usable",
     [](Output, uint64_t, void* good) -> void* { return static_cast<char*>(good) + 8; }},
};

// Makes the call; on rank 1 it must end as the failing room says, and elsewhere well.
void expect_end(uint32_t rank, const Failing& failing, const std::function<void()>& call) {
  try {
    call();
    EXPECT_NE(rank, 1u) << failing.what << ": nothing was thrown";
  } catch (const std::exception& error) {
    EXPECT_EQ(rank, 1u) << error.what();
    EXPECT_NE(std::string(error.what()).find(failing.error), std::string::npos) << error.what();
  }
}

RoomFor room_failing_for(Output output, const Failing& failing, TensorHome& side) {
  return [=, &side](Output which, uint64_t bytes) {
    void* const good = side.room(bytes + 16);
    return which == output ? failing.room(which, bytes, good) : good;
  };
}

// The others have what is theirs, and the next calls of all are good.
// Contract 7.9.
TEST(Room, ThatFailsEndsOneRanksCallAlone) {
  const World w = room_world({2, 1});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    TensorHome& side = side_of(rank);
    const Given given(w, problem, rank);
    DispatchInputs in = given.in;
    in.stream = side.stream();
    for (const Failing& failing : kFailing)
      for (const Output output : {Output::kX, Output::kTopkIdx, Output::kTopkWeights, Output::kSource})
        for (const int64_t rows_max : {0, 60}) {
          in.x = side.put(given.in.x);
          in.topk_idx = side.put(given.in.topk_idx);
          in.topk_weights = side.put(given.in.topk_weights);
          in.rows_max = rows_max;
          in.room = rank == 1 ? room_failing_for(output, failing, side) : nullptr;
          expect_end(rank, failing, [&] {
            const DispatchOutputs out = group.dispatch(in);
            group.wait(in.stream);
            const reference::Received want = reference::received_by(problem, rank);
            ASSERT_EQ(group.report(out.handle, in.stream).rows, int64_t(want.source.size()));
            const Tensor x = side.take(out.x);
            for (size_t i = 0; i < want.source.size(); ++i)
              ASSERT_EQ(x.as<uint16_t>()[i * w.columns], element(7, want.source[i].rank, want.source[i].token, 0));
          });
          side.reset();
        }
    Member(w, problem, group).pass(Pass{}, 4);
  });
}

TEST(Room, ThatFailsEndsOneRanksCachedDispatchAndCombineAlone) {
  if (kSumsInOnePlace != nullptr) GTEST_SKIP() << kSumsInOnePlace;
  const World w = room_world({2, 1});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    TensorHome& side = side_of(rank);
    const Given given(w, problem, rank);
    DispatchInputs in = inputs_at(side, given);
    const DispatchOutputs first = group.dispatch(in);
    in.topk_idx = in.topk_weights = Tensor{};
    in.handle = first.handle;
    for (const Failing& failing : kFailing) {
      in.room = rank == 1 ? room_failing_for(Output::kX, failing, side) : nullptr;
      expect_end(rank, failing, [&] {
        const DispatchOutputs out = group.dispatch(in);
        const Tensor x = side.take(out.x), want = side.take(first.x);
        EXPECT_TRUE(std::equal(x.as<char>(), x.as<char>() + x.bytes(), want.as<char>()));
      });
      for (const Output output : {Output::kX, Output::kTopkWeights}) {
        CombineInputs back;
        back.stream = in.stream;
        back.handle = first.handle;
        back.x = first.x;
        back.topk_weights = first.topk_weights;
        back.room = rank == 1 ? room_failing_for(output, failing, side) : nullptr;
        expect_end(rank, failing, [&] { group.combine(back); });
      }
    }
    group.wait(in.stream);
    Member(w, problem, group).pass(Pass{}, 4);
  });
}

// A landing that was asked for is not to be had in memory that peers do not reach.
TEST(Room, OutsideOfLeasesIsNoPlaceToLandDirect) {
  const World w = room_world({2});
  const reference::Problem problem = problem_of(w);
  run_team(w, [&](Group& group, uint32_t rank) {
    TensorHome& side = side_of(rank);
    const Given given(w, problem, rank);
    DispatchInputs in = inputs_at(side, given);
    in.landing = Landing::kDirect;
    in.room = [&](Output, uint64_t bytes) { return side.room(bytes); };
    EXPECT_EQ(refusal([&] { group.dispatch(in); }),
              "landing: direct, must be auto or ring: room gave memory for x that lies in no lease of this group; the "
              "group is still usable");
    side.reset();
    Member(w, problem, group).pass(Pass{}, 4);
  });
}

}  // namespace
}  // namespace transload::test
