// Rung 9: claim hands each number out once; the last to arrive publishes for all.
#include "ranks.h"

namespace transload::ladder {
namespace {

TEST(Rung09Claim, EveryNumberOnce) {
  constexpr int kWarps = 9, kNumbers = 1000;
  Ranks ranks(1);
  std::vector<int> times(kNumbers, 0);
  *ranks.word(0) = 0;
  ranks.run_threads([&](int) {
    return std::vector<Scheduler::Task>(kWarps, [&](HostWarp& w) {
      for (Word n; (n = w.claim(ranks.word(0))) < kNumbers;) {
        ++times[size_t(n)];
        w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(1), 0}, 1}; });
      }
    });
  });
  for (int t : times) EXPECT_EQ(t, 1);
  EXPECT_EQ(*ranks.word(0), Word(kNumbers + kWarps));
}

TEST(Rung09Claim, TheLastToArriveSpeaksForAll) {
  constexpr int kWarps = 7;
  const Word calls = scaled(2000);
  Ranks ranks(2);
  uint64_t* const rows = reinterpret_cast<uint64_t*>(ranks.room());
  const auto tasks = [&](int rank) {
    std::vector<Scheduler::Task> list;
    if (rank == 1) {
      list.push_back([&](HostWarp& w) {
        auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
        for (Word call = 1; call <= calls; ++call) {
          ASSERT_FALSE(w.wait_all(
                            Set::only(0),
                            [&](Lane) {
                              return Need{ranks.word(1), call, 0, Waiting::kDone};
                            },
                            seen)
                           .empty());
          for (int k = 0; k < kWarps * 8; ++k) ASSERT_EQ(rows[k], call * 100 + Word(k / 8));
          w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(2), 0}, call}; });
        }
      });
      return list;
    }
    for (int n = 0; n < kWarps; ++n) {
      list.push_back([&, n](HostWarp& w) {
        auto seen = w.per<Word>(Set::only(0), [](Lane) { return Word(0); });
        for (Word call = 1; call <= calls; ++call) {
          uint64_t row[8];
          for (auto& v : row) v = call * 100 + Word(n);
          w.scatter({reinterpret_cast<const char*>(row), 64, nullptr, 0}, Set::only(0), [&](Lane) {
            return Destination{reinterpret_cast<char*>(rows + n * 8), nullptr, false};
          });
          if (w.arrive(ranks.word(0), call * kWarps))
            w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(1), 1}, call}; });
          ASSERT_FALSE(w.wait_all(
                            Set::only(0),
                            [&](Lane) {
                              return Need{ranks.word(2), call, 1, Waiting::kDone};
                            },
                            seen)
                           .empty());
        }
      });
    }
    return list;
  };
  ranks.run_threads(tasks);
}

}  // namespace
}  // namespace transload::ladder
