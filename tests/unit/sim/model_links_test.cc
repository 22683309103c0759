// A rank's ports: what leaves a rank, and what comes to one, shares its bandwidth, whoever is at the other end.
#include "sim/model/links.h"

#include <gtest/gtest.h>

namespace transload {
namespace {

// 10 GB/s, 1 us one way, 5 ns a message, between nodes alone.
ModelLinks links_of(uint32_t ranks) {
  const LinkModel wire{.latency_ns = 1000, .bandwidth_gb_s = 10, .message_ns = 5};
  return ModelLinks({ranks, {}, wire, nullptr, nullptr});
}

ModelLinks::Transfer far(uint32_t from, uint32_t to) {
  return {.from = from, .to = to, .scale_out = true, .bytes = 4000};
}

constexpr uint64_t kTakes = 405, kLatency = 1000;  // of 4,000 bytes in one message

TEST(ModelLinks, AnIdleLinkTakesLatencyAndBytes) {
  ModelLinks links = links_of(2);
  EXPECT_EQ(links.ready_at(far(0, 1), 50), 50 + kLatency + kTakes);
}

TEST(ModelLinks, WhatLeavesARankSharesItsPortWhereverItGoes) {
  ModelLinks links = links_of(3);
  EXPECT_EQ(links.ready_at(far(0, 1), 0), kLatency + kTakes);
  EXPECT_EQ(links.ready_at(far(0, 2), 0), kLatency + 2 * kTakes);
}

TEST(ModelLinks, WhatComesToARankSharesItsPortWhereverItIsFrom) {
  ModelLinks links = links_of(3);
  EXPECT_EQ(links.ready_at(far(0, 2), 0), kLatency + kTakes);
  EXPECT_EQ(links.ready_at(far(1, 2), 0), kLatency + 2 * kTakes);
}

TEST(ModelLinks, BothWaysAtOnce) {
  ModelLinks links = links_of(2);
  EXPECT_EQ(links.ready_at(far(0, 1), 0), kLatency + kTakes);
  EXPECT_EQ(links.ready_at(far(1, 0), 0), kLatency + kTakes);
}

TEST(ModelLinks, EachMessageTakesTimeBesidesItsBytes) {
  ModelLinks links = links_of(2);
  ModelLinks::Transfer four = far(0, 1);
  four.messages = 4;
  EXPECT_EQ(links.ready_at(four, 0), kLatency + kTakes + 3 * 5);
}

TEST(ModelLinks, ATransferOfOneKindDoesNotHoldUpTheOther) {
  ModelLinks links = links_of(2);
  links.ready_at(far(0, 1), 0);
  ModelLinks::Transfer near = far(0, 1);
  near.scale_out = false;
  EXPECT_EQ(links.ready_at(near, 7), 7u);
}

TEST(ModelLinks, DepartureAndArrivalAreTheTwoStepsOfOne) {
  ModelLinks whole = links_of(3), steps = links_of(3);
  for (const uint32_t from : {0u, 1u, 0u}) {
    const ModelLinks::Passage passage = steps.leave(far(from, 2), 10);
    EXPECT_EQ(passage.left - passage.begins, kTakes);
    EXPECT_EQ(steps.arrive(far(from, 2), passage.begins), whole.ready_at(far(from, 2), 10));
  }
}

}  // namespace
}  // namespace transload
