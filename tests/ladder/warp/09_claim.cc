// Rung 9: claim hands each number out once; the last to arrive publishes for all.
#include "model_ranks.h"

namespace transload::ladder {
namespace {

template <class R>
class Rung09Claim : public ::testing::Test {};
TYPED_TEST_SUITE(Rung09Claim, EveryWarp, NameOfRanks);

TYPED_TEST(Rung09Claim, EveryNumberOnce) {
  constexpr int kWarps = 9, kNumbers = 1000;
  TypeParam ranks(1);
  std::vector<int> times(kNumbers, 0);
  *ranks.word(0) = 0;
  ranks.run([&](int) {
    return std::vector<typename TypeParam::Task>(kWarps, [&](typename TypeParam::Warp& w) {
      for (Word n; (n = w.pick(w.claim(ranks.word(0)), 0)) < kNumbers;) {
        ++times[size_t(n)];
        w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(1), 0}, 1}; });
      }
    });
  });
  for (int t : times) EXPECT_EQ(t, 1);
  EXPECT_EQ(*ranks.word(0), Word(kNumbers + kWarps));
}

TYPED_TEST(Rung09Claim, TheLastToArriveSpeaksForAll) {
  constexpr int kWarps = 7;
  const Word calls = TypeParam::scaled(2000);
  TypeParam ranks(2);
  uint64_t* const rows = reinterpret_cast<uint64_t*>(ranks.room(1));
  const auto tasks = [&](int rank) {
    std::vector<typename TypeParam::Task> list;
    if (rank == 1) {
      list.push_back([&](typename TypeParam::Warp& w) {
        auto seen = w.template per<Word>(Set::only(0), [](Lane) { return Word(0); });
        for (Word call = 1; call <= calls; ++call) {
          ASSERT_FALSE(w.wait_all(
                            Set::only(0),
                            [&](Lane) {
                              return Need{ranks.word(1), call, 0, Waiting::kDone};
                            },
                            seen)
                           .empty());
          for (int k = 0; k < kWarps * 8; ++k) ASSERT_EQ(w.peek(rows + k), call * 100 + Word(k / 8));
          w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{ranks.word(2), 0}, call}; });
        }
      });
      return list;
    }
    for (int n = 0; n < kWarps; ++n) {
      list.push_back([&, n](typename TypeParam::Warp& w) {
        auto seen = w.template per<Word>(Set::only(0), [](Lane) { return Word(0); });
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
  ranks.run(tasks);
}

}  // namespace
}  // namespace transload::ladder
