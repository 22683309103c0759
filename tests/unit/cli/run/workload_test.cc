// Made workloads: the same for everybody, varied, and counted right.
#include "cli/run/workload.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <set>

#include "base/float.h"
#include "cli/run/safetensors.h"
#include "cli/show/usage.h"

namespace transload::cli {
namespace {

Options options_for(const char* node_sizes, const char* tokens, const char* routing) {
  RunArguments arguments;
  arguments.node_sizes = node_sizes;
  arguments.tokens = tokens;
  arguments.routing = routing;
  arguments.hidden = "64";
  arguments.experts = "10";
  arguments.top_k = "4";
  return checked(arguments);
}

TEST(Workload, RowsAreMadeAgainAlike) {
  Options options = options_for("2,1", "5,0,3", "uniform");
  const Workload one(options), two(options);
  const auto rows = one.make_rows(RowKind::kTokens, 2);
  ASSERT_EQ(rows.size(), 3 * 64u);
  std::vector<uint16_t> row(64);
  std::set<std::vector<uint16_t>> different;
  for (int64_t t = 0; t < 3; ++t) {
    two.make_row(RowKind::kTokens, {2, t}, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.begin() + t * 64));
    for (const RowKind kind : {RowKind::kTokens, RowKind::kBias0, RowKind::kBias1, RowKind::kGradients}) {
      one.make_row(kind, {2, t}, row.data());
      different.insert(row);
    }
  }
  EXPECT_EQ(different.size(), 12u);
  EXPECT_TRUE(one.make_rows(RowKind::kTokens, 1).empty());
}

TEST(Workload, AFileNamesExpertsThatAre) {
  const std::string path = testing::TempDir() + "transload-routing-" + std::to_string(getpid());
  const auto said = [&](int32_t expert) -> std::string {
    std::vector<int32_t> ids(8 * 4, 3);
    ids[13] = expert;
    const std::vector<float> weights(ids.size(), 0.25f);
    write_safetensors(path, {{"topk_idx", "I32", {8, 4}, ids.data()}, {"topk_weights", "F32", {8, 4}, weights.data()}});
    try {
      Options options = options_for("2,1", "5,0,3", path.c_str());
      const Workload workload(options);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(said(9), "");
  EXPECT_EQ(said(-1), "");
  for (const int32_t expert : {10, -2})
    EXPECT_NE(said(expert).find("expert " + std::to_string(expert) + " in row 3"), std::string::npos) << said(expert);
  std::remove(path.c_str());
}

TEST(Workload, ValuesVaryInSignAndMagnitude) {
  Options options = options_for("1", "200", "none");
  const Workload workload(options);
  int negative = 0;
  std::set<int> exponents;
  for (const uint16_t value : workload.make_rows(RowKind::kTokens, 0)) {
    const float x = f32_from_bf16(value);
    ASSERT_TRUE(std::isfinite(x) && std::abs(x) >= 0x1p-8f && std::abs(x) < 0x1p8f) << x;
    negative += x < 0;
    exponents.insert(std::ilogb(x));
  }
  EXPECT_EQ(exponents.size(), 16u);
  EXPECT_NEAR(negative, 200 * 64 / 2, 1000);
}

TEST(Workload, ChoicesOfATokenDiffer) {
  for (const char* routing : {"uniform", "zipf:3", "one-rank", "none"}) {
    Options options = options_for("3", "100", routing);
    const Workload workload(options);
    for (const auto& routes : workload.problem().routes)
      for (int64_t t = 0; t < routes.tokens; ++t) {
        std::set<int32_t> seen;
        float sum = 0;
        int chosen = 0;
        for (int64_t i = t * 4; i < t * 4 + 4; ++i) {
          if (routes.ids[size_t(i)] < 0) continue;
          seen.insert(routes.ids[size_t(i)]);
          sum += routes.weights[size_t(i)];
          ++chosen;
        }
        EXPECT_EQ(int(seen.size()), chosen) << routing;
        EXPECT_EQ(chosen, std::string(routing) == "none" ? 0 : 4) << routing;
        if (chosen == 0) continue;
        EXPECT_NEAR(sum, 1, 1e-5);
        EXPECT_LT(*seen.rbegin(), std::string(routing) == "one-rank" ? 4 : 10);
      }
  }
}

TEST(Workload, TurnedRoutingsDifferAndComeBack) {
  Options options = options_for("2,1", "5,0,3", "uniform");
  options.rows_max = 4;
  options.overflow = Overflow::kDrop;
  const Workload workload(options);
  const auto& routes = workload.problem().routes;
  const Workload same = workload.turned(0), one = workload.turned(1), round = workload.turned(30);  // 2 x 3 x 5, 3 x 10
  for (size_t r = 0; r < routes.size(); ++r) {
    EXPECT_EQ(same.problem().routes[r].ids, routes[r].ids);
    EXPECT_EQ(round.problem().routes[r].ids, routes[r].ids);
    EXPECT_EQ(round.problem().routes[r].weights, routes[r].weights);
    EXPECT_EQ(same.needed(uint32_t(r)), workload.needed(uint32_t(r)));
    const int64_t tokens = routes[r].tokens;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t k = 0; k < 4; ++k) {
        const size_t from = size_t((t + 1) % tokens * 4 + k), to = size_t(t * 4 + k);
        EXPECT_EQ(one.problem().routes[r].ids[to], (routes[r].ids[from] + 1) % 10);
        EXPECT_EQ(one.problem().routes[r].weights[to], routes[r].weights[from]);
      }
  }
  ASSERT_EQ(one.problem().drop_from.size(), 3u);
  reference::Problem unlimited = one.problem();
  unlimited.drop_from.clear();
  for (uint32_t r = 0; r < 3; ++r) {
    EXPECT_EQ(one.needed(r), int64_t(reference::received_by(unlimited, r).source.size()));
    EXPECT_EQ(int64_t(reference::received_by(one.problem(), r).source.size()), std::min<int64_t>(4, one.needed(r)));
  }
}

TEST(Workload, TrafficOfAHandMadeRouting) {
  reference::Problem p;
  p.node_sizes = {1, 2};
  p.owner = {0, 1, 2};
  p.top_k = 3;
  p.routes.resize(3);
  p.routes[0] = {2, {0, 1, 2, 1, 1, -1}, std::vector<float>(6)};
  p.routes[2] = {1, {2, 0, -1}, std::vector<float>(3)};
  const RunTraffic t = traffic_of(p);
  EXPECT_EQ(t.rows, 6);
  EXPECT_EQ(t.scale_out_rows, 3);          // tokens 0 and 1 of rank 0 to node 1, token 0 of rank 2 to node 0
  EXPECT_EQ(t.scale_out_rows_by_rank, 4);  // without one copy a node: one more
  EXPECT_EQ(t.received, (std::vector<int64_t>{2, 2, 2}));
  EXPECT_EQ(t.own, (std::vector<int64_t>{1, 0, 1}));
  EXPECT_EQ(t.returned, (std::vector<int64_t>{4, 0, 2}));
  EXPECT_EQ(t.sent, (std::vector<int64_t>{3, 0, 2}));
  EXPECT_EQ(t.scale_out_sent, (std::vector<int64_t>{2, 0, 1}));
}

TEST(Workload, RowsWithoutRoomAreNotTraffic) {
  Options options = options_for("2,1", "20", "uniform");
  const Workload all(options);
  EXPECT_FALSE(all.anyone_fails());
  options.rows_max = 5;
  const Workload failing(options);
  options.overflow = Overflow::kDrop;
  const Workload dropping(options);
  EXPECT_FALSE(dropping.anyone_fails());
  const RunTraffic before = traffic_of(all.problem()), after = traffic_of(dropping.problem());
  for (uint32_t r = 0; r < 3; ++r) {
    EXPECT_EQ(dropping.needed(r), before.received[r]);
    EXPECT_EQ(after.received[r], std::min<int64_t>(5, before.received[r]));
    EXPECT_EQ(failing.fails(r), before.received[r] > 5);
  }
  EXPECT_EQ(after.scale_out_sent, before.scale_out_sent);  // one copy a node goes all the same
}

TEST(Options, RefusalsNameTheArgument) {
  RunArguments arguments;
  arguments.hidden = "12";
  try {
    checked(arguments);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("--hidden: 12: must be a multiple of 8"), std::string::npos)
        << error.what();
  }
  arguments = {};
  arguments.fault = "stop:7@2/combine";
  const Options options = checked(arguments);
  ASSERT_TRUE(options.fault);
  EXPECT_EQ(options.fault->verb, FaultVerb::kStop);
  EXPECT_EQ(options.fault->rank, 7u);
  EXPECT_EQ(options.fault->iteration, 2u);
  EXPECT_EQ(options.fault->phase, FaultPhase::kCombine);
}

}  // namespace
}  // namespace transload::cli
