// Rung 7: a warp that waits for any of several streams serves those that move, however long one of them stands.
#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung07Any : public ::testing::Test {};
TYPED_TEST_SUITE(Rung07Any, EveryWarp, NameOfRanks);

TYPED_TEST(Rung07Any, AStandingStreamStarvesNobody) {
  // Rank 1 takes from 70 streams of rank 0. Stream 33 moves only once all others have ended.
  constexpr int kStreams = 70, kLast = 33;
  const Word rows = TypeParam::scaled(400);
  TypeParam ranks(2);
  const auto tasks = [&](int rank) {
    std::vector<typename TypeParam::Task> list;
    if (rank == 1) {
      list.push_back([&](typename TypeParam::Warp& w) {
        auto taken = w.template table<Word>(kStreams, [](Lane) { return Word(0); });
        auto seen = w.template table<Word>(kStreams, [](Lane) { return Word(0); });
        for (;;) {
          const Members live = w.where(Members::first(kStreams), [&](Lane l) { return taken[l] < rows; });
          if (live.empty()) break;
          const Members ready = w.wait_any(
              live,
              [&](Lane l) {
                return Need{ranks.word(l.i), taken[l] + 1, 0};
              },
              seen);
          ASSERT_FALSE(ready.empty());
          w.each(ready, [&](Lane l) {
            EXPECT_GT(seen[l], taken[l]);
            taken[l] = seen[l];
          });
          w.publish(ready, [&](Lane l) { return Mark<PeerWord>{{ranks.word(100 + l.i), 0}, taken[l]}; });
        }
      });
      return list;
    }
    for (int stream = 0; stream < kStreams; ++stream) {
      list.push_back([&, stream](typename TypeParam::Warp& w) {
        const Members mine = Members::only(stream);
        Members others = Members::first(kStreams);
        others.remove(kLast);
        auto seen = w.template table<Word>(kStreams, [](Lane) { return Word(0); });
        if (stream == kLast) {
          const Members done = w.wait_all(
              others,
              [&](Lane l) {
                return Need{ranks.word(100 + l.i), rows, 1, Waiting::kCredit};
              },
              seen);
          EXPECT_EQ(done.count(), kStreams - 1);
        }
        for (Word i = 0; i < rows && !w.failed(); ++i) {
          w.publish(mine, [&](Lane l) { return Mark<PeerWord>{{ranks.word(l.i), 1}, i + 1}; });
          w.wait_all(
              mine,
              [&](Lane l) {
                return Need{ranks.word(100 + l.i), i < 3 ? 0 : i - 2, 1, Waiting::kCredit};
              },
              seen);
        }
      });
    }
    return list;
  };
  ranks.run(tasks, [](HostMemoryOptions&, SchedulerOptions& s) { s.fibers_max = kStreams; });
}

TYPED_TEST(Rung07Any, PollNeverWaitsAndSeenNeverFalls) {
  TypeParam ranks(1);
  *ranks.word(0) = 5;
  run_one(ranks, [&](typename TypeParam::Warp& w) {
    const Set two = Set::first(2);
    auto seen = w.template per<Word>(two, [](Lane) { return Word(0); });
    auto need = [&](Lane l) { return Need{ranks.word(l.i), 4, 0}; };
    EXPECT_EQ(w.poll(two, need, seen), Set::only(0));
    EXPECT_EQ(w.pick(seen, 0), 5u);
    *ranks.word(0) = 3;  // as a count may look whose bytes land one by one
    EXPECT_EQ(w.wait_any(
                  two,
                  [&](Lane l) {
                    return Need{ranks.word(l.i), 5, 0};
                  },
                  seen),
              Set::only(0));
    EXPECT_EQ(w.poll(
                  two,
                  [&](Lane l) {
                    return Need{ranks.word(l.i), 6, 0};
                  },
                  seen),
              Set{});
    EXPECT_EQ(w.pick(seen, 0), 5u);
    EXPECT_TRUE(w.wait_all(Set{}, need, seen).empty());
    EXPECT_FALSE(w.failed());
  });
}

TYPED_TEST(Rung07Any, APollingWarpLetsOthersRun) {
  TypeParam ranks(1);
  ranks.run([&](int) {
    return std::vector<typename TypeParam::Task>{
        [&](typename TypeParam::Warp& w) {
          auto seen = w.template per<Word>(Set::only(0), [](Lane) { return Word(0); });
          while (!w.failed() && w.poll(
                                     Set::only(0),
                                     [&](Lane) {
                                       return Need{ranks.word(0), 1, 0};
                                     },
                                     seen)
                                    .empty()) {
          }
        },
        [&](typename TypeParam::Warp& w) {
          w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(0), 0}, 1}; });
        }};
  });
}

}  // namespace
}  // namespace transload::ladder
