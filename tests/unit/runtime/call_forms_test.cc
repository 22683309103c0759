// What inputs and a rank say about a call: its shape and card, its scales, and every field of its trip.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/type_names.h"
#include "runtime/call/combine_form.h"
#include "runtime/call/dispatch_form.h"

namespace transload {
namespace {

constexpr uint32_t kTopK = 3;
constexpr int64_t kTokens = 5, kColumns = 64, kScales = 2;

// Memory that is never looked at: addresses that differ.
template <class T>
T* at(uintptr_t number) {
  return reinterpret_cast<T*>(number << 20);
}

GroupOptions form_options() {
  GroupOptions o;
  o.topology.node_sizes = {2, 1};
  o.bootstrap.ranks = 3;
  o.bootstrap.rank = 1;
  o.experts = 6;
  o.channels = 4;
  return o;
}

DispatchInputs first_inputs() {
  DispatchInputs in;
  in.x = matrix(at<void>(1), kTokens, kColumns, kBf16);
  in.topk_idx = matrix(at<void>(2), kTokens, kTopK, kI64);
  in.topk_weights = matrix(at<void>(3), kTokens, kTopK, kF32);
  return in;
}

Handle handle_of(uint64_t rows_max) {
  auto handle = std::make_shared<HandleData>();
  handle->tokens = kTokens;
  handle->top_k = kTopK;
  handle->log_width = 2;
  handle->rows_max = rows_max;
  return handle;
}

TEST(DispatchForm, OfAFirstDispatch) {
  const RankState rank(form_options());
  DispatchInputs in = first_inputs();
  const DispatchForm form(rank, in);
  EXPECT_TRUE(form.first);
  EXPECT_TRUE(form.shape.listed);
  EXPECT_EQ(form.shape.row_bytes, 128u);
  EXPECT_EQ(form.shape.scales, 0u);
  EXPECT_EQ(form.shape.top_k, kTopK);
  EXPECT_EQ(form.channels, 4u);
  EXPECT_EQ(form.tokens, uint64_t(kTokens));
  EXPECT_EQ(form.rows_max, kNoRowsMax);
  EXPECT_EQ(form.routing.expert32, nullptr);
  EXPECT_EQ(form.routing.expert64, at<int64_t>(2));
  EXPECT_EQ(form.routing.weight, at<float>(3));
  EXPECT_EQ(form.routing.tokens, uint64_t(kTokens));
  EXPECT_EQ(form.card.operation, Operation::kDispatch);
  EXPECT_EQ(form.card.row_bytes, 128u);
  EXPECT_EQ(form.card.top_k, kTopK);
  EXPECT_EQ(form.card.dtype, packed(kBf16));
  EXPECT_EQ(form.card.channels, 4u);
  in.topk_idx.dtype = kI32;
  in.rows_max = 9;
  in.channels = 2;
  const DispatchForm other(rank, in);
  EXPECT_EQ(other.routing.expert32, at<int32_t>(2));
  EXPECT_EQ(other.routing.expert64, nullptr);
  EXPECT_EQ(other.rows_max, 9u);
  EXPECT_EQ(other.channels, 2u);
  EXPECT_EQ(other.card.channels, 2u);
}

TEST(DispatchForm, OfACachedDispatch) {
  const RankState rank(form_options());
  DispatchInputs in;
  in.x = matrix(at<void>(1), kTokens, kColumns, kBf16);
  in.handle = handle_of(9);
  const DispatchForm form(rank, in);
  EXPECT_FALSE(form.first);
  EXPECT_FALSE(form.shape.listed);
  EXPECT_EQ(form.shape.top_k, kTopK);
  EXPECT_EQ(form.rows_max, 9u);
  EXPECT_EQ(form.routing.weight, nullptr);
  EXPECT_EQ(form.card.operation, Operation::kCachedDispatch);
  EXPECT_EQ(form.card.top_k, kTopK);
}

TEST(DispatchForm, ScalesAreSentFromWhereTheyFollowEachOther) {
  const RankState rank(form_options());
  std::vector<float> scales(40);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = float(i);
  DispatchInputs in = first_inputs();
  in.scales = matrix(scales.data(), kTokens, kScales, kF32);
  in.scales.strides[0] = 7;
  const DispatchForm rows(rank, in);
  EXPECT_EQ(rows.card.scales, uint32_t(kScales));
  EXPECT_FALSE(rows.stages_scales());
  EXPECT_EQ(rows.scale_rows(at<char>(4)).at, reinterpret_cast<char*>(scales.data()));
  EXPECT_EQ(rows.scale_rows(at<char>(4)).stride, 28);

  in.scales.strides[0] = 1;
  in.scales.strides[1] = kTokens;
  const DispatchForm columns(rank, in);
  EXPECT_TRUE(columns.stages_scales());
  std::vector<char> staged(size_t(kTokens) * columns.shape.scale_room());
  columns.stage_scales(staged.data());
  const ScaleRows sent = columns.scale_rows(staged.data());
  EXPECT_EQ(sent.at, staged.data());
  for (int64_t token = 0; token < kTokens; ++token)
    for (int64_t i = 0; i < kScales; ++i) {
      float scale;
      std::memcpy(&scale, sent.at + token * sent.stride + i * 4, 4);
      EXPECT_EQ(scale, scales[size_t(token + i * kTokens)]);
    }
}

// Words that are 0 in what is compared: fields that nothing was put into.
template <class T>
size_t empty_words(const T& t) {
  static_assert(sizeof(T) % 8 == 0);
  std::vector<uint64_t> words(sizeof(T) / 8);
  std::memcpy(static_cast<void*>(words.data()), static_cast<const void*>(&t), sizeof(T));
  return size_t(std::count(words.begin(), words.end(), 0));
}

template <class Tables>
Tables tables_from(uintptr_t number) {
  Tables tables{};
  for_each_table(
      {}, [&](uint64_t, auto*& table) { table = at<std::remove_reference_t<decltype(*table)>>(number++); }, tables);
  return tables;
}

TEST(DispatchForm, EveryFieldOfATripIsFilledIn) {
  const RankState rank(form_options());
  DispatchInputs in = first_inputs();
  in.scales = matrix(at<void>(4), kTokens, kScales, kF32);
  const DispatchForm form(rank, in);
  DispatchOutputs out;
  out.scales = matrix(at<void>(5), 7, kScales, kF32);
  out.topk_idx = matrix(at<void>(6), 7, kTopK, kI32);
  out.topk_weights = matrix(at<void>(7), 7, kTopK, kF32);
  out.source = matrix(at<void>(8), 7, 2, kI32);
  const LandingPlace landing{.direct = true, .rows = at<char>(9), .row_headers = at<char>(10)};
  const DispatchTables tables{.up_positions = {at<Word>(11), at<Word>(12), at<Word>(13)},
                              .rail_positions = {at<Word>(14), at<Word>(15), at<Word>(16)},
                              .experts = rank.experts,
                              .handle = tables_from<HandleView>(20),
                              .made = tables_from<HandleTables>(30),
                              .log_width = 2,
                              .forward = {at<uint64_t>(40), 4},
                              .arriving = {at<uint64_t>(41), 4},
                              .log_entries = 43,
                              .scales = form.scale_rows(nullptr),
                              .headers = at<char>(42)};
  DispatchTrip trip = trip_of(form, tables, landing, out);
  EXPECT_EQ(trip.call.board, nullptr) << "is its caller's";
  std::memset(static_cast<void*>(&trip.call), 0xff, sizeof trip.call);
  EXPECT_EQ(empty_words(trip), 1u) << "ids are narrow or wide";
  EXPECT_EQ(trip.topk_idx, at<int32_t>(6));
  out.topk_idx = matrix(at<void>(6), 7, kTopK, kI64);
  const DispatchTrip wide = trip_of(form, tables, landing, out);
  EXPECT_EQ(wide.topk_idx, nullptr);
  EXPECT_EQ(wide.wide_idx, at<int64_t>(6));
  EXPECT_EQ(trip.handle.row_base, tables.handle.row_base);
  EXPECT_EQ(trip.made.row_token, tables.made.row_token);
  EXPECT_EQ(trip.width, kTopK);
  EXPECT_EQ(trip.log_entries, 43u);
  EXPECT_EQ(trip.x_scales, at<char>(4));
  EXPECT_EQ(trip.x_scale_stride, kScales * 4);
  EXPECT_EQ(trip.rows, at<char>(9));
  EXPECT_EQ(trip.topk_weights, at<float>(7));
}

CombineInputs combine_inputs() {
  CombineInputs in;
  in.handle = handle_of(7);
  in.x = matrix(at<void>(1), 7, kColumns, kBf16);
  in.topk_weights = matrix(at<void>(2), 7, kTopK, kF32);
  in.bias[0] = matrix(at<void>(3), kTokens, kColumns, kBf16);
  in.bias[1] = matrix(at<void>(4), kTokens, kColumns, kBf16);
  in.wire = CombineWire::kF32;
  return in;
}

TEST(CombineForm, IsItsHandlesAndItsInputs) {
  const RankState rank(form_options());
  CombineInputs in = combine_inputs();
  const CombineForm form(rank, in);
  EXPECT_EQ(form.channels, 4u);
  EXPECT_EQ(form.weights, kTopK);
  EXPECT_EQ(form.tokens, uint64_t(kTokens));
  EXPECT_EQ(form.rows_max, 7u);
  EXPECT_EQ(form.card.operation, Operation::kCombine);
  EXPECT_EQ(form.card.row_bytes, 128u);
  EXPECT_EQ(form.card.top_k, kTopK);
  EXPECT_EQ(form.card.channels, 4u);
  EXPECT_EQ(form.card.wire, uint32_t(CombineWire::kF32));
  EXPECT_EQ(form.card.weights, kTopK);
  in.topk_weights = {};
  EXPECT_EQ(CombineForm(rank, in).card.weights, 0u);
}

TEST(CombineForm, EveryFieldOfATripIsFilledIn) {
  const RankState rank(form_options());
  const CombineInputs in = combine_inputs();
  CombineOutputs out;
  out.x = matrix(at<void>(5), kTokens, kColumns, kBf16);
  out.topk_weights = matrix(at<void>(6), kTokens, kTopK, kF32);
  const CombineTables tables{.up_positions = {at<Word>(11), at<Word>(12), at<Word>(13)},
                             .rail_positions = {at<Word>(14), at<Word>(15), at<Word>(16)},
                             .handle = tables_from<HandleView>(20),
                             .forward = {at<uint64_t>(40), 4},
                             .rows_of = {at<uint64_t>(41), 4}};
  CombineTrip trip = trip_of(CombineForm(rank, in), in, tables, out);
  std::memset(static_cast<void*>(&trip.call), 0xff, sizeof trip.call);
  EXPECT_FALSE(trip.spare_out);
  trip.spare_out = true;
  EXPECT_EQ(empty_words(trip), 0u);
  EXPECT_EQ(trip.elements, uint64_t(kColumns));
  EXPECT_TRUE(trip.wire == Scalar::kF32);
  EXPECT_EQ(trip.out, at<char>(5));
  EXPECT_EQ(trip.row_weights, at<char>(2));
  EXPECT_EQ(trip.log_width, 2u);
}

// Offsets from the granter's region, or nothing.
TEST(GrantOffer, IsWhatPeersCanReach) {
  std::vector<char> region(4096);
  char* const mine = region.data();
  Board board{};
  char* const peers[] = {mine};
  board.peer = peers;
  DispatchOutputs out;
  out.scales = matrix(mine + 512, 7, kScales, kF32);
  const LandingPlace landing{.direct = true, .rows = mine + 128, .row_headers = mine + 256};
  const GrantOffer direct = offer_of(board, landing, out, 7);
  EXPECT_TRUE(direct.reachable);
  EXPECT_EQ(direct.rows, 128u);
  EXPECT_EQ(direct.headers_or_weights, 256u);
  EXPECT_EQ(direct.scales, 512u);
  EXPECT_EQ(direct.rows_max, 7u);
  const GrantOffer ring =
      offer_of(board, {.direct = false, .rows = landing.rows, .row_headers = landing.row_headers}, out, 7);
  EXPECT_FALSE(ring.reachable);
  EXPECT_EQ(ring.rows + ring.scales + ring.headers_or_weights, 0u);
  CombineInputs in;
  in.x = matrix(mine + 1024, 7, kColumns, kBf16);
  EXPECT_EQ(offer_of(board, true, in, 7).rows, 1024u);
  EXPECT_EQ(offer_of(board, true, in, 7).headers_or_weights, 0u) << "there are no weights";
  in.x = matrix(at<void>(1), 0, kColumns, kBf16);
  EXPECT_EQ(offer_of(board, true, in, 7).rows, 0u) << "there is nothing to read";
}

}  // namespace
}  // namespace transload
