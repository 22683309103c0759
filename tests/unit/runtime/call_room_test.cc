// The tensors of a call in their lease: inside it, apart, and where out_x is too short beside it.
#include "runtime/call/output_room.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/refusal.h"

namespace transload {
namespace {

constexpr int64_t kRoomTokens = 5, kRoomColumns = 64;
constexpr uint32_t kRoomTopK = 3;
constexpr uint64_t kRows = 7;

GroupOptions room_options() {
  GroupOptions o;
  o.topology.node_sizes = {1};
  return o;
}

struct OneRoom {
  explicit OneRoom(bool cached = false) {
    in.x = matrix(memory.data(), kRoomTokens, kRoomColumns, kBf16);
    in.scales = matrix(memory.data(), kRoomTokens, 2, kF32);
    if (cached) {
      auto handle = std::make_shared<HandleData>();
      handle->tokens = kRoomTokens;
      handle->top_k = kRoomTopK;
      in.handle = handle;
      return;
    }
    in.topk_idx = matrix(memory.data(), kRoomTokens, kRoomTopK, kI64);
    in.topk_weights = matrix(memory.data(), kRoomTokens, kRoomTopK, kF32);
  }
  DispatchRoom room(uint64_t rows = kRows) const { return {DispatchForm(rank, in), in, rows, DLDevice{kDLCUDA, 3}}; }

  std::vector<char> memory = std::vector<char>(64 << 10);
  RankState rank{room_options()};
  DispatchInputs in;
};

struct Extent {
  const char* at;
  uint64_t bytes;
};

void expect_apart(std::vector<Extent> all, const char* base, uint64_t bytes) {
  std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) { return a.at < b.at; });
  const char* free = base;
  for (const Extent& each : all) {
    EXPECT_GE(each.at, free);
    EXPECT_EQ((each.at - base) % kSlotAlign, 0u);
    free = each.at + each.bytes;
  }
  EXPECT_LE(uint64_t(free - base), bytes);
}

Extent extent_of(const Tensor& tensor) { return {tensor.as<char>(), tensor.bytes()}; }

TEST(DispatchRoom, TensorsOfAFirstDispatchLieApart) {
  const OneRoom one;
  const DispatchRoom room = one.room();
  std::vector<char> lease(room.bytes());
  DispatchOutputs out;
  const LandingPlace landing = room.hand_out(lease.data(), true, out);
  EXPECT_TRUE(landing.direct);
  EXPECT_EQ(out.landing, Landing::kDirect);
  EXPECT_EQ(landing.rows, out.x.as<char>());
  const TokenShape shape = DispatchForm(one.rank, one.in).shape;
  expect_apart({extent_of(out.x),
                {landing.row_headers, kRows * shape.header_bytes()},
                extent_of(out.topk_idx),
                extent_of(out.topk_weights),
                extent_of(out.source),
                extent_of(out.scales)},
               lease.data(), room.bytes());
  EXPECT_EQ(out.topk_idx.columns(), int64_t(kRoomTopK));
  EXPECT_EQ(out.source.columns(), 2);
  EXPECT_EQ(out.scales.columns(), 2);
  for (const Tensor* tensor : {&out.x, &out.topk_idx, &out.topk_weights, &out.source, &out.scales}) {
    EXPECT_EQ(tensor->rows(), int64_t(kRows));
    EXPECT_EQ(tensor->device.device_type, kDLCUDA);
    EXPECT_EQ(tensor->device.device_id, 3);
  }
  EXPECT_NO_THROW(room.refuse_if_too_short(int64_t(kRows)));
}

TEST(DispatchRoom, ACachedDispatchHasRowsAndScalesAlone) {
  const OneRoom one(true);
  const DispatchRoom room = one.room();
  std::vector<char> lease(room.bytes());
  DispatchOutputs out;
  room.hand_out(lease.data(), false, out);
  EXPECT_EQ(out.landing, Landing::kRing);
  EXPECT_FALSE(out.topk_idx.given() || out.topk_weights.given() || out.source.given());
  EXPECT_EQ(room.bytes(), round_up(kRows * kRoomColumns * 2, kSlotAlign) + round_up(kRows * 8, kSlotAlign));
}

TEST(DispatchRoom, RowsGoToOutXWhereItIsLongEnough) {
  OneRoom one;
  const auto arena = std::make_shared<Arena>(one.memory.data(), one.memory.size(), nullptr);
  std::vector<char> own(kRows * kRoomColumns * 2);
  one.in.out_x = matrix(own.data(), int64_t(kRows), kRoomColumns, kBf16);
  const DispatchRoom room = one.room();
  EXPECT_STREQ(room.outside(*arena), "out_x");
  std::vector<char> lease(room.bytes());
  DispatchOutputs out;
  EXPECT_EQ(room.hand_out(lease.data(), false, out).rows, own.data());
  EXPECT_EQ(out.x.as<char>(), own.data());
  EXPECT_LT(room.bytes(), OneRoom().room().bytes());
  const auto block = arena->take(own.size());
  one.in.out_x.data = block->data;
  EXPECT_EQ(one.room().outside(*arena), nullptr);
  EXPECT_EQ(OneRoom().room().outside(*arena), nullptr) << "it has no rows of its own";
}

TEST(DispatchRoom, AnOutXThatIsTooShortIsRefusedAfterwards) {
  OneRoom one;
  std::vector<char> own(kRows * kRoomColumns * 2);
  one.in.out_x = matrix(own.data(), int64_t(kRows) - 1, kRoomColumns, kBf16);
  const DispatchRoom room = one.room();
  EXPECT_EQ(room.bytes(), OneRoom().room().bytes());
  std::vector<char> lease(room.bytes());
  DispatchOutputs out;
  EXPECT_EQ(room.hand_out(lease.data(), true, out).rows, lease.data());
  try {
    room.refuse_if_too_short(int64_t(kRows));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_STREQ(error.what(), "out_x: 6 rows, must be at least 7, what this rank received; the group is still usable");
  }
}

// What a caller's function was asked for, from memory of its own or of an arena.
struct Asked {
  std::vector<char> memory = std::vector<char>(64 << 10);
  std::vector<std::pair<Output, uint64_t>> calls;
  uint64_t used = 0;

  RoomFor room() {
    return [this](Output which, uint64_t bytes) {
      calls.emplace_back(which, bytes);
      char* const at = memory.data() + used;
      used += round_up(bytes, kTokenUnit);
      return at;
    };
  }
};

TEST(DispatchRoom, ACallersFunctionIsAskedForEachOutput) {
  OneRoom one;
  Asked asked;
  one.in.room = asked.room();
  const auto arena = std::make_shared<Arena>(one.memory.data(), one.memory.size(), nullptr);
  DispatchRoom room = one.room();
  room.ask(*arena);
  const uint64_t idx_bytes = kRows * kRoomTopK * 4;
  const std::vector<std::pair<Output, uint64_t>> all{{Output::kX, kRows * kRoomColumns * 2},
                                                     {Output::kScales, kRows * 8},
                                                     {Output::kTopkIdx, idx_bytes},
                                                     {Output::kTopkWeights, kRows * kRoomTopK * 4},
                                                     {Output::kSource, kRows * 8}};
  EXPECT_EQ(asked.calls, all);
  EXPECT_STREQ(room.outside(*arena), "x");
  const TokenShape shape = DispatchForm(one.rank, one.in).shape;
  EXPECT_EQ(room.bytes(), round_up(kRows * shape.header_bytes(), kSlotAlign)) << "headers alone are leased";
  std::vector<char> lease(room.bytes());
  DispatchOutputs out;
  const LandingPlace landing = room.hand_out(lease.data(), false, out);
  EXPECT_EQ(landing.row_headers, lease.data());
  EXPECT_EQ(landing.rows, out.x.as<char>());
  std::vector<Extent> extents;
  for (const Tensor* tensor : {&out.x, &out.scales, &out.topk_idx, &out.topk_weights, &out.source}) {
    extents.push_back(extent_of(*tensor));
    EXPECT_EQ(tensor->rows(), int64_t(kRows));
    EXPECT_EQ(tensor->device.device_id, 3);
  }
  EXPECT_EQ(extents.front().at, asked.memory.data());
  EXPECT_LE(extents.back().at + extents.back().bytes, asked.memory.data() + asked.memory.size());
}

TEST(DispatchRoom, ACachedOneThatTheCallerHasRoomForNeedsNoLease) {
  OneRoom one(true);
  Asked asked;
  one.in.room = asked.room();
  const auto arena = std::make_shared<Arena>(asked.memory.data(), asked.memory.size(), nullptr);
  const auto block = arena->take(asked.memory.size());
  DispatchRoom room = one.room();
  EXPECT_FALSE(room.needs_lease());
  room.ask(*arena);
  EXPECT_EQ(asked.calls.size(), 2u);
  EXPECT_EQ(room.outside(*arena), nullptr) << "both lie in a lease";
  DispatchOutputs out;
  EXPECT_TRUE(room.hand_out(nullptr, true, out).direct);
}

TEST(DispatchRoom, WhatACallersFunctionMustNotGiveIsRefused) {
  OneRoom one;
  const auto arena = std::make_shared<Arena>(one.memory.data(), one.memory.size(), nullptr);
  alignas(16) char memory[4096];
  void* gives = nullptr;
  Output of = Output::kX;
  Asked asked;
  one.in.room = [&, room = asked.room()](Output which, uint64_t bytes) {
    return which == of ? gives : room(which, bytes);
  };
  const auto refusal = [&](Output which, void* given) {
    of = which;
    gives = given;
    asked.used = 0;
    return test::refusal([&] { one.room().ask(*arena); });
  };
  EXPECT_EQ(refusal(Output::kSource, memory), "");
  EXPECT_EQ(refusal(Output::kScales, nullptr),
            "room for scales: null, must be memory of 56 bytes; the group is still usable");
  EXPECT_EQ(refusal(Output::kTopkIdx, memory + 8), "room for topk_idx: address " +
                                                       std::to_string(reinterpret_cast<uintptr_t>(memory + 8)) +
                                                       ", must be aligned to 16 bytes; the group is still usable");
  EXPECT_EQ(refusal(Output::kX, one.memory.data()),
            "room for x: over memory of x, must be apart from all else of the call; the group is still usable");
  EXPECT_EQ(refusal(Output::kTopkWeights, asked.memory.data()),
            "room for topk_weights: over memory of x, must be apart from all else of the call; the group is still "
            "usable");
  one.in.landing = Landing::kDirect;
  EXPECT_EQ(refusal(Output::kSource, memory),
            "landing: direct, must be auto or ring: room gave memory for x that lies in no lease of this group; the "
            "group is still usable");
}

TEST(DispatchRoom, WhatIsTooLongIsNoLength) {
  const OneRoom one;
  EXPECT_EQ(one.room(kTooLarge / 4).bytes(), kTooLarge);
}

TEST(CombineRoom, HoldsSumsAndWeights) {
  std::vector<char> memory(64 << 10);
  auto handle = std::make_shared<HandleData>();
  handle->tokens = kRoomTokens;
  CombineInputs in;
  in.handle = handle;
  in.x = matrix(memory.data(), int64_t(kRows), kRoomColumns, kBf16);
  const CombineRoom room(in, kRoomTopK, {kDLCPU, 0});
  CombineOutputs out;
  room.hand_out(memory.data(), out);
  expect_apart({extent_of(out.x), extent_of(out.topk_weights)}, memory.data(), room.bytes());
  EXPECT_EQ(out.x.rows(), kRoomTokens);
  EXPECT_EQ(out.x.columns(), kRoomColumns);
  EXPECT_EQ(out.topk_weights.columns(), int64_t(kRoomTopK));
  const CombineRoom without(in, 0, {kDLCPU, 0});
  CombineOutputs bare;
  without.hand_out(memory.data(), bare);
  EXPECT_FALSE(bare.topk_weights.given());
  in.out_x = matrix(memory.data() + 4096, kRoomTokens, kRoomColumns, kBf16);
  const CombineRoom own(in, 0, {kDLCPU, 0});
  EXPECT_EQ(own.bytes(), 0u);
  own.hand_out(memory.data(), bare);
  EXPECT_EQ(bare.x.as<char>(), memory.data() + 4096);
  Asked asked;
  in.room = asked.room();
  CombineRoom callers(in, kRoomTopK, {kDLCPU, 0});
  callers.ask();
  EXPECT_EQ(asked.calls,
            (std::vector<std::pair<Output, uint64_t>>{{Output::kTopkWeights, kRoomTokens * kRoomTopK * 4}}));
  callers.hand_out(nullptr, out);
  EXPECT_EQ(out.x.as<char>(), memory.data() + 4096);
  EXPECT_EQ(out.topk_weights.as<char>(), asked.memory.data());
}

}  // namespace
}  // namespace transload
