// The order in which a FiberWarp asks its Memory: what speaks for something comes after it.
#include "executor/fiber/warp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/recording_memory.h"

namespace transload::test {
namespace {

using Recorded = WarpOver<RecordingMemory>;

// e: engine fence, m: move, o: observe, f: store fence, d: drain, p: put, n: count to the network, w: store of a count,
// r: wake, P: park, s: settle, a: arrive.
TEST(Warp, FencesThenPutsThenMarksThenWakesBeforeItParks) {
  Recorded over;
  EXPECT_EQ(a_day(over), "emofdpnwwrPofwrsa");
}

// In a large world a verb has more puts and marks than a batch: some go, and then the rest.
TEST(Warp, AFullBatchGoesBeforeMoreIsAdded) {
  Recorded over;
  std::vector<char> bytes(100);
  (*over).put(Members::first(40), [&](Lane m) { return Put{&bytes[size_t(m)], 0, 1, uint32_t(m.i), nullptr, 0}; });
  EXPECT_EQ(over.memory.log, "f" + std::string(Batch::kPutsMax, 'p') + "r");
  (*over).settle();
  EXPECT_EQ(std::count(over.memory.log.begin(), over.memory.log.end(), 'p'), 40);
  over.memory.log.clear();
  std::vector<Word> words(100);
  (*over).publish(Members::first(100), [&](Lane m) { return Mark<PeerWord>{{&words[size_t(m)], 1}, 1}; });
  EXPECT_EQ(over.memory.log, "f" + std::string(Batch::kMarksMax, 'w') + "r");
  (*over).settle();
  EXPECT_EQ(std::count(words.begin(), words.end(), Word(1)), 100);
}

TEST(Warp, DrainsOnlyWhereABatchHoldsCredits) {
  Recorded over;
  Word word = 0;
  auto mark = [&](Lane) { return Mark<PeerWord>{{&word, 1}, 1}; };
  (*over).publish(Set::only(0), mark);
  (*over).settle();
  EXPECT_EQ(over.memory.log, "fwrs");
  over.memory.log.clear();
  (*over).credit(Set::only(0), mark);
  (*over).settle();
  EXPECT_EQ(over.memory.log, "fdwrs");
  over.memory.log.clear();
  (*over).publish(Set::only(0), mark);
  (*over).drain();
  EXPECT_EQ(over.memory.log, "fwrd");
}

TEST(Warp, AWordThatFallsIsNotBelieved) {
  Recorded over;
  Word word = 300, other = 0;
  auto seen = (*over).template per<Word>(Set::first(2), [](Lane) { return Word(0); });
  auto need = [&](Lane l) { return Need{l == 0 ? &word : &other, 512, 1}; };
  (*over).poll(Set::first(2), need, seen);
  word = 44;  // the low byte of 300 again
  (*over).poll(Set::first(2), need, seen);
  EXPECT_EQ(seen[Lane{0}], 300u);
  EXPECT_EQ(over.memory.log, "oooo");
}

// Else each word that comes would begin the wait again.
TEST(Warp, SaysWhetherItWaitsForAllOrAny) {
  Recorded over;
  Word words[2] = {};
  auto need = [&](Lane l) { return Need{&words[l.i], 1, 1}; };
  auto seen = (*over).template per<Word>(Set::first(2), [](Lane) { return Word(0); });
  over.memory.on_park = [&](const Park& park) {
    EXPECT_TRUE(park.all);
    EXPECT_EQ(park.count, 2);
    words[0] = words[1] = 1;
  };
  EXPECT_EQ((*over).wait_all(Set::first(2), need, seen), Set::first(2));
  words[0] = words[1] = 0;
  seen = {};
  over.memory.on_park = [&](const Park& park) {
    EXPECT_FALSE(park.all);
    EXPECT_EQ(park.count, 2);
    words[1] = 1;
  };
  auto table = (*over).template table<Word>(2, [](Lane) { return Word(0); });
  EXPECT_EQ((*over).wait_any(Members::first(2), need, table).count(), 1);
}

// It may come at any time: what is held back then stays, and nobody is told that all is done.
TEST(Warp, AFaultEndsWhatIsUnderWay) {
  Recorded over;
  Word word = 0, arrivals = 0;
  char bytes[64] = {};
  (*over).publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{&word, 1}, 1}; });
  over.memory.fails = true;
  (*over).settle();
  (*over).copy(Set::only(0), [&](Lane) { return Piece{bytes, bytes + 32, 32}; });
  (*over).reduce(bytes, SumShape{8, Scalar::kBf16, Scalar::kBf16, Scalar::kBf16, {}, false}, Sum{{}, Set::only(0), {}},
                 [&](Lane) { return bytes + 32; });
  EXPECT_EQ(over.memory.log, "s");
  EXPECT_FALSE((*over).arrive(&arrivals, 1));
  EXPECT_EQ(word, 0u);
}

// Contract 8.9.
TEST(Warp, StoresNothingOnceItsRankFailed) {
  Recorded over;
  over.memory.fails = true;
  EXPECT_EQ(a_day(over), "sa");
}

}  // namespace
}  // namespace transload::test
