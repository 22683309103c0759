// What a call does for its outputs where the slabs have room or none, on the host and on a GPU, and where the caller's
// function throws.
#include "runtime/call/outcome.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/call/whole_call.h"
#include "tests/support/refusal.h"

namespace transload {
namespace {

constexpr DLDevice kHost{kDLCPU, 0}, kGpu{kDLCUDA, 3};
constexpr int64_t kGivenTokens = 5, kGivenColumns = 64;
constexpr uint32_t kGivenTopK = 3;
constexpr uint64_t kRowsThatCome = 7;
constexpr uint64_t kOneMore = 1 << 16;  // bytes, more than outputs of these calls take

GroupOptions one_rank() {
  GroupOptions o;
  o.topology.node_sizes = {1};
  return o;
}

// One rank whose slabs hold so many bytes, and the inputs of a dispatch and of a combine.
struct SmallRank {
  explicit SmallRank(size_t slab_bytes) : slab(slab_bytes + 16) {
    rank.place({.network = nullptr,
                .scale_up = {{memory.data(), memory.size()}},
                .mapped = {},
                .arena = std::make_shared<Arena>(aligned(slab), slab_bytes, nullptr)});
    auto known = std::make_shared<HandleData>();
    known->tokens = kGivenTokens;
    known->top_k = kGivenTopK;
    known->device_rows = kRowsThatCome;
    handle = known;
    in.x = matrix(memory.data(), kGivenTokens, kGivenColumns, kBf16);
    in.topk_idx = matrix(memory.data(), kGivenTokens, kGivenTopK, kI64);
    in.topk_weights = matrix(memory.data(), kGivenTokens, kGivenTopK, kF32);
    back.x = matrix(memory.data(), kRowsThatCome, kGivenColumns, kBf16);
    back.topk_weights = matrix(memory.data(), kRowsThatCome, kGivenTopK, kF32);
    back.handle = handle;
  }
  static char* aligned(std::vector<char>& of) { return of.data() + (16 - reinterpret_cast<uintptr_t>(of.data()) % 16); }

  std::vector<char> memory = std::vector<char>(4096), slab;
  RankState rank{one_rank()};
  Handle handle;
  DispatchInputs in;
  CombineInputs back;
};

// A dispatch, from asking for its outputs to taking them.
struct Dispatching {
  Dispatching(SmallRank& of, DLDevice device) : form(of.rank, of.in), outcome(of.rank, form, of.in, device) {
    outcome.ask(kRowsThatCome);
    outcome.take(*of.handle);
  }
  std::string failure(Code code = Code::kOutOfMemory) const {
    return test::refusal([&] { rethrow([&] { outcome.throw_failure(); }); }, code);
  }
  // What a call throws in the end.
  template <class Step>
  static void rethrow(Step step) {
    try {
      step();
    } catch (const CallersFailure& failure) {
      std::rethrow_exception(failure.thrown);
    }
  }
  DispatchForm form;
  DispatchOutcome outcome;
};

TEST(DispatchOutcome, RowsLandDirectlyWhereTheSlabsHaveRoom) {
  for (const DLDevice device : {kHost, kGpu}) {
    SmallRank one(kOneMore);
    const Dispatching dispatch(one, device);
    EXPECT_FALSE(dispatch.outcome.failed());
    EXPECT_FALSE(dispatch.outcome.slabs_full());
    EXPECT_TRUE(dispatch.outcome.landing().direct);
    EXPECT_TRUE(dispatch.outcome.out.lease.registered());
    EXPECT_EQ(dispatch.outcome.out.rows, int64_t(kRowsThatCome));
    EXPECT_EQ(dispatch.outcome.out.rows_needed, int64_t(kRowsThatCome));
    EXPECT_EQ(dispatch.outcome.out.x.device.device_type, device.device_type);
    EXPECT_EQ(dispatch.failure(), "");
    EXPECT_EQ(one.rank.decisions.back().what, "landing");
  }
}

// Memory of its own, which peers do not reach, so rows come by the ring.
TEST(DispatchOutcome, AHostWithoutRoomLendsItsOwn) {
  SmallRank one(64);
  const Dispatching dispatch(one, kHost);
  EXPECT_TRUE(dispatch.outcome.slabs_full());
  EXPECT_FALSE(dispatch.outcome.landing().direct);
  EXPECT_FALSE(dispatch.outcome.out.lease.registered());
  EXPECT_EQ(dispatch.outcome.out.rows, int64_t(kRowsThatCome));
  EXPECT_EQ(dispatch.failure(), "");
}

TEST(DispatchOutcome, AGpuWithoutRoomKeepsNoRowAndFails) {
  SmallRank one(64);
  const Dispatching dispatch(one, kGpu);
  EXPECT_EQ(dispatch.form.rows_max, 0u);
  EXPECT_TRUE(dispatch.outcome.landing().direct);
  EXPECT_EQ(dispatch.outcome.landing().rows, one.rank.board.mine());
  EXPECT_EQ(dispatch.outcome.block(), nullptr);
  const std::string text = dispatch.failure();
  EXPECT_EQ(text.find("slab_bytes: no room for the outputs of a dispatch of "), 0u) << text;
  EXPECT_NE(text.find(" bytes: the longest free stretch has 64; the group is still usable"), std::string::npos) << text;
}

TEST(DispatchOutcome, ADirectLandingWithoutRoomFailsOnceRowsHaveCome) {
  SmallRank one(64);
  one.in.landing = Landing::kDirect;
  const Dispatching dispatch(one, kHost);
  EXPECT_FALSE(dispatch.outcome.landing().direct);
  EXPECT_EQ(dispatch.outcome.out.rows, int64_t(kRowsThatCome));
  EXPECT_EQ(dispatch.failure().find("landing: direct, but no room in the slabs for "), 0u);
}

// On the host a ring needs no slab. A GPU's outputs lie in one whatever the landing is.
TEST(DispatchOutcome, ARingTakesNoSlabOnTheHost) {
  SmallRank one(kOneMore);
  one.in.landing = Landing::kRing;
  EXPECT_FALSE(Dispatching(one, kHost).outcome.out.lease.registered());
  EXPECT_TRUE(Dispatching(one, kGpu).outcome.out.lease.registered());
}

TEST(DispatchOutcome, WhatTheCallersFunctionThrowsIsThrownInTheEnd) {
  SmallRank one(kOneMore);
  one.in.room = [](Output, uint64_t) -> void* { throw std::runtime_error("the caller's own"); };
  Dispatching dispatch(one, kHost);
  dispatch.outcome.fail_later(Error(Code::kOutOfMemory, "a later reason"));
  EXPECT_TRUE(dispatch.outcome.failed());
  EXPECT_EQ(dispatch.form.rows_max, 0u) << "it keeps no row";
  try {
    Dispatching::rethrow([&] { dispatch.outcome.throw_failure(); });
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the caller's own");
  }
}

TEST(DispatchOutcome, NothingIsTakenForACallThatLacksAHandle) {
  SmallRank one(kOneMore);
  DispatchForm form(one.rank, one.in);
  DispatchOutcome outcome(one.rank, form, one.in, kGpu);
  outcome.fail_later(one.rank.no_room("a handle", 1));
  outcome.ask(kRowsThatCome);
  outcome.take(*one.handle);
  EXPECT_EQ(one.rank.arena->used(), 0u);
  EXPECT_EQ(form.rows_max, 0u);
}

struct Combining {
  Combining(SmallRank& of, DLDevice device, char* spare)
      : form(of.rank, of.back), outcome(of.rank, form, of.back, device) {
    outcome.take(spare);
  }
  CombineForm form;
  CombineOutcome outcome;
};

TEST(CombineOutcome, SumsLieInTheSlabsWhereTheyHaveRoom) {
  for (const DLDevice device : {kHost, kGpu}) {
    SmallRank one(kOneMore);
    const Combining combine(one, device, nullptr);
    EXPECT_FALSE(combine.outcome.failed());
    EXPECT_TRUE(combine.outcome.out.lease.registered());
    EXPECT_EQ(combine.outcome.out.x.rows(), kGivenTokens);
  }
}

TEST(CombineOutcome, AHostWithoutRoomLendsItsOwn) {
  SmallRank one(64);
  const Combining combine(one, kHost, nullptr);
  EXPECT_FALSE(combine.outcome.failed());
  EXPECT_FALSE(combine.outcome.out.lease.registered());
  EXPECT_EQ(combine.outcome.out.x.rows(), kGivenTokens);
}

// Each sum goes where the last one went, and the weights lie behind it.
TEST(CombineOutcome, AGpuWithoutRoomSumsIntoItsSpare) {
  SmallRank one(64);
  alignas(16) char spare[spare_sum_bytes(kGivenColumns * 2, kGivenTopK)];
  const Combining combine(one, kGpu, spare);
  EXPECT_TRUE(combine.outcome.failed());
  EXPECT_EQ(combine.outcome.out.x.data, spare);
  EXPECT_EQ(combine.outcome.out.x.rows(), 1);
  EXPECT_EQ(combine.outcome.out.topk_weights.data, spare + kGivenColumns * 2);
  EXPECT_EQ(combine.outcome.out.topk_weights.bytes(), sizeof spare - kGivenColumns * 2);
  const auto thrown = [&] { Dispatching::rethrow([&] { combine.outcome.throw_failure(); }); };
  EXPECT_EQ(test::refusal(thrown, Code::kOutOfMemory).find("slab_bytes: no room for the outputs of a combine of "), 0u);
}

TEST(CombineOutcome, WhatTheCallersFunctionThrowsIsThrownInTheEnd) {
  SmallRank one(kOneMore);
  one.back.room = [](Output, uint64_t) -> void* { throw std::runtime_error("the caller's own"); };
  const Combining combine(one, kHost, nullptr);
  EXPECT_EQ(combine.outcome.out.x.rows(), 1) << "it keeps no sum";
  EXPECT_THROW(Dispatching::rethrow([&] { combine.outcome.throw_failure(); }), std::runtime_error);
}

}  // namespace
}  // namespace transload
