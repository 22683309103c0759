// The check of outputs: right ones pass, and any wrong byte of any of them is found and named.
#include "cli/run/check.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

namespace transload::cli {
namespace {

Options options_for(bool fp8) {
  RunArguments arguments;
  arguments.node_sizes = "2,1";
  arguments.tokens = "6,5,7";
  arguments.hidden = "256";
  arguments.experts = "6";
  arguments.top_k = "3";
  if (fp8) arguments.dtype = "fp8";
  return checked(arguments);
}

// The outputs that rank 1 must get, made from the oracle.
struct Right {
  explicit Right(bool fp8)
      : options(options_for(fp8)), workload(options), received(reference::received_by(workload.problem(), 1)) {
    const Payload& payload = options.payload;
    const size_t count = received.source.size(), words = payload.scale_words();
    rows.resize(count * payload.row_bytes());
    scales.resize(count * words + 1);
    std::vector<uint16_t> row(options.hidden);
    for (size_t m = 0; m < count; ++m) {
      workload.make_row(RowKind::kTokens, received.source[m], row.data());
      payload.encode(row.data(), rows.data() + m * payload.row_bytes(), scales.data() + m * words);
      source.push_back(int32_t(received.source[m].rank));
      source.push_back(int32_t(received.source[m].token));
    }
    const int64_t m = int64_t(count), k = options.top_k;
    out.rows = out.rows_needed = m;
    out.x = matrix(rows.data(), m, int64_t(options.hidden), payload.row_type());
    if (fp8) out.scales = matrix(scales.data(), m, int64_t(words), payload.scale_type());
    out.topk_idx = matrix(received.ids.data(), m, k, kI32);
    out.topk_weights = matrix(received.weights.data(), m, k, kF32);
    out.source = matrix(source.data(), m, 2, kI32);
    out.expert_counts = received.expert_counts;
    out.scale_out_rows = traffic_of(workload.problem()).scale_out_sent[1];
  }
  // What the check says of them: the output that is wrong, or nothing.
  std::string verdict() const {
    const auto page = std::make_unique<StatusPage>();
    ResultChecker checker(options, workload, 1, *page);
    checker.dispatch(out);
    return checker.mismatch() ? checker.mismatch()->output : "";
  }

  Options options;
  Workload workload;
  reference::Received received;
  std::vector<char> rows;
  std::vector<uint32_t> scales;
  std::vector<int32_t> source;
  DispatchOutputs out;
};

TEST(ResultChecker, RightOutputsPass) {
  for (bool fp8 : {false, true}) EXPECT_EQ(Right(fp8).verdict(), "");
}

TEST(ResultChecker, AnyWrongByteIsFound) {
  const auto spoiled = [](bool fp8, const std::function<void(Right&)>& spoil) {
    Right right(fp8);
    spoil(right);
    return right.verdict();
  };
  EXPECT_EQ(spoiled(false, [](Right& r) { r.rows.back() ^= 1; }), "dispatch.x");
  EXPECT_EQ(spoiled(true, [](Right& r) { r.rows.back() ^= 1; }), "dispatch.x");
  EXPECT_EQ(spoiled(true, [](Right& r) { r.scales[r.scales.size() - 2] ^= 1; }), "dispatch.scales");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.source.back() ^= 1; }), "dispatch.source");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.source[0] ^= 1; }), "dispatch.source");
  EXPECT_EQ(spoiled(false, [](Right& r) { ++r.received.ids.back(); }), "dispatch.topk_idx");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.received.weights[0] += 1; }), "dispatch.topk_weights");
  EXPECT_EQ(spoiled(false, [](Right& r) { ++r.out.expert_counts[1]; }), "dispatch.expert_counts");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.out.expert_counts.pop_back(); }), "dispatch.expert_counts count");
  EXPECT_EQ(spoiled(false, [](Right& r) { ++r.out.scale_out_rows; }), "dispatch.scale_out_rows");
  EXPECT_EQ(spoiled(false, [](Right& r) { ++r.out.rows_needed; }), "dispatch.rows_needed");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.out.status.code = Code::kTooManyRows; }), "dispatch.status");
  EXPECT_EQ(spoiled(false, [](Right& r) { --r.out.rows; }), "dispatch.x count");
  EXPECT_EQ(spoiled(false, [](Right& r) { ++r.out.x.strides[0]; }), "dispatch.x row stride");
  EXPECT_EQ(spoiled(false, [](Right& r) { r.out.x.dtype = kI32; }), "dispatch.x dtype");
}

// Of several wrong values the first is told, with its place and both values.
TEST(ResultChecker, TheFirstWrongValueIsTold) {
  Right right(false);
  right.rows[2 * 512 + 101] ^= 0x10;
  right.source[8] ^= 1;
  const auto page = std::make_unique<StatusPage>();
  ResultChecker checker(right.options, right.workload, 1, *page);
  checker.at(3, IterationCall{});
  checker.dispatch(right.out);
  ASSERT_TRUE(checker.mismatch());
  const WrongValue& m = *checker.mismatch();
  EXPECT_EQ(m.output, "dispatch.x");
  EXPECT_EQ(m.iteration, 3u);
  EXPECT_EQ(m.rank, 1u);
  EXPECT_EQ(m.row, 2);
  EXPECT_EQ(m.byte, 101);
  EXPECT_EQ(m.expected.size(), 6u) << "a bf16: " << m.expected;
  EXPECT_NE(m.expected, m.seen);
}

}  // namespace
}  // namespace transload::cli
