// Rails with queues or a proxy: what the model promises there, which freedoms it takes, and what it reports.
#include <gtest/gtest.h>

#include <algorithm>

#include "model_world.h"

namespace transload::test {
namespace {

constexpr int32_t kProxy = -2;
using World = ModelWorld;

template <class F>
bool some_seed(RailMode rails, F test, bool ordered = false) {
  for (uint64_t seed = 1; seed <= kModelSeeds; ++seed) {
    World world(seed, ordered, rails);
    if (test(world)) return true;
  }
  return false;
}
template <class F>
bool every_seed(RailMode rails, F test, bool ordered = false) {
  return !some_seed(
      rails, [&](World& w) { return !test(w); }, ordered);
}

struct InQueue {
  uint32_t agent, queue;
};

void put(World& w, InQueue by, size_t offset, const char* from) {
  w.flights.put(by.agent, {from, offset, World::kBytes, 1, nullptr, 0, 0, by.queue}, 1);
}
void add(World& w, InQueue by, Word* word, Word count, Word added) {
  w.flights.mark(by.agent, Flights::Count{.word = word,
                                          .count = count,
                                          .region = 1,
                                          .release = true,
                                          .far = true,
                                          .queue = by.queue,
                                          .adds = true,
                                          .added = added});
}

// Queues.

TEST(ModelQueues, ACountLandsAfterThePutsOfItsQueue) {
  for (const bool ordered : {false, true})
    EXPECT_TRUE(every_seed(
        RailMode::kQueues,
        [](World& w) {
          put(w, {w.warp(0, 1), 3}, 0, w.filled('a'));
          w.flights.begin_run(0);
          put(w, {w.warp(0), 3}, 256, w.filled('b'));
          add(w, {w.warp(0), 3}, w.word(1), 2, 2);
          w.land_until(w.word(1), 2);
          w.observe(w.warp(1), w.word(1));
          w.read(w.warp(1), w.at(1, 0));
          w.read(w.warp(1), w.at(1, 256));
          return w.holds(w.at(1, 0), 'a') && w.holds(w.at(1, 256), 'b') && w.fine();
        },
        ordered));
}

TEST(ModelQueues, ACountSaysNothingOfAnotherQueue) {
  for (const bool ordered : {false, true})
    EXPECT_TRUE(some_seed(
        RailMode::kQueues,
        [](World& w) {
          put(w, {w.warp(0), 3}, 0, w.filled('a'));
          w.flights.begin_run(0);
          add(w, {w.warp(0), 4}, w.word(1), 1, 1);
          return w.land_until(w.word(1), 1) && !w.holds(w.at(1, 0), 'a');
        },
        ordered));
}

TEST(ModelQueues, WhatIsAddedIsAddedOnceAndInOrder) {
  EXPECT_TRUE(every_seed(RailMode::kQueues, [](World& w) {
    const Word counts[] = {1, 255, 256, 70000, Word(1) << 33};
    Word told = 0;
    for (const Word count : counts) {
      add(w, {w.warp(0), 2}, w.word(1), count, count - told);
      told = count;
    }
    w.land_all();
    return std::equal(w.landed.begin(), w.landed.end(), std::begin(counts), std::end(counts)) && w.fine();
  }));
}

TEST(ModelQueues, ASourceIsFreeOnceItsCountHasLanded) {
  EXPECT_TRUE(every_seed(RailMode::kQueues, [](World& w) {
    w.store(w.warp(0), w.at(0, kFree), 'a');
    w.flights.settle(w.warp(0));
    put(w, {w.warp(0), 1}, 0, w.at(0, kFree));
    const bool held = !w.flights.at_rest(w.at(0, kFree), World::kBytes);
    add(w, {w.warp(0), 1}, w.word(1), 1, 1);
    w.land_until(w.word(1), 1);
    return held && w.flights.at_rest(w.at(0, kFree), World::kBytes);
  }));
}

TEST(ModelQueues, AWordThatIsWrittenThroughTwoQueuesFalls) {
  EXPECT_TRUE(some_seed(RailMode::kQueues, [](World& w) {
    for (const uint32_t queue : {1u, 2u})
      w.flights.mark(
          w.warp(0),
          Flights::Count{.word = w.word(1), .count = queue, .region = 1, .release = true, .far = true, .queue = queue});
    w.land_all();
    return w.broke(Checker::kGrowth, "falls from 2 to 1");
  }));
}

// A proxy.

struct WithProxy {
  explicit WithProxy(World& world) : w(world), proxy(w.flights.add_agent({0, 0, kProxy, 0})) {}
  void give(uint32_t agent, Word value, bool release = true) { w.flights.command(agent, w.word(0), value, release); }
  bool told(Word value) { return w.land_until(w.word(0), value) && w.observe(proxy, w.word(0)) == value; }
  void put(const AskedBy& asked, size_t offset, const char* from, Word* drained = nullptr) {
    w.flights.put_by(proxy, asked, {from, offset, World::kBytes, 1, drained, 1}, 1);
  }
  World& w;
  const uint32_t proxy;
};

TEST(ModelProxy, ReadsWhatACommandCovers) {
  EXPECT_TRUE(every_seed(RailMode::kProxy, [](World& w) {
    WithProxy p(w);
    w.store(w.warp(0), w.at(0, kFree), 'a');
    p.give(w.warp(0), 1);
    if (!p.told(1)) return false;
    p.put(w.flights.asked_by(w.warp(0)), 0, w.at(0, kFree));
    w.land_all();
    return w.holds(w.at(1, 0), 'a') && w.fine();
  }));
}

TEST(ModelProxy, ThatReadsWhatNoCommandCoversIsReported) {
  EXPECT_TRUE(every_seed(RailMode::kProxy, [](World& w) {
    WithProxy p(w);
    w.store(w.warp(0), w.at(0, kFree), 'a');
    p.give(w.warp(0), 1, false);
    if (!p.told(1)) return false;
    p.put(w.flights.asked_by(w.warp(0)), 0, w.at(0, kFree));
    return w.broke(Checker::kLanding, "reads ");
  }));
}

TEST(ModelProxy, SeesACommandInPart) {
  EXPECT_TRUE(some_seed(RailMode::kProxy, [](World& w) {
    for (const size_t word : {0u, 1u}) w.flights.command(w.warp(0), w.word(0, word), ~Word(0), true);
    while (*w.word(0, 1) != ~Word(0) && w.land()) {
    }
    return *w.word(0, 0) != 0 && *w.word(0, 0) != ~Word(0);
  }));
}

TEST(ModelProxy, ADrainedWordIsItsOwnStore) {
  const auto drains = [](World& w, bool late) {
    WithProxy p(w);
    w.store(w.warp(0), w.at(0, kFree), 'a');
    w.flights.settle(w.warp(0));
    p.give(w.warp(0), 1);
    if (!p.told(1)) return !late;
    p.put(w.flights.asked_by(w.warp(0)), 0, w.at(0, kFree), w.word(0, 3));
    while (!w.flights.at_rest(w.at(0, kFree), World::kBytes) && w.land()) {
    }
    if (late) return *w.word(0, 3) == 0;
    w.land_all();
    return *w.word(0, 3) == 1 && w.fine();
  };
  EXPECT_TRUE(every_seed(RailMode::kProxy, [&](World& w) { return drains(w, false); }));
  EXPECT_TRUE(some_seed(RailMode::kProxy, [&](World& w) { return drains(w, true); }));
}

// A command that is carried late is still one of the call that gave it.
TEST(ModelProxy, ACountCoversWhatWasAskedForInEarlierRuns) {
  EXPECT_TRUE(every_seed(RailMode::kProxy, [](World& w) {
    WithProxy p(w);
    const AskedBy before = w.flights.asked_by(w.warp(0));
    w.flights.begin_run(0);
    p.put(before, 0, w.filled('a'));
    w.flights.mark(w.flights.asked_by(w.warp(0, 1)),
                   {.word = w.word(1), .count = 1, .region = 1, .release = true, .far = true});
    w.land_until(w.word(1), 1);
    return w.holds(w.at(1, 0), 'a');
  }));
}

}  // namespace
}  // namespace transload::test
