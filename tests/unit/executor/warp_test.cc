// The order in which a FiberWarp asks its Memory: what speaks for something comes after it.
#include "executor/fiber/warp.h"

#include <gtest/gtest.h>

#include "tests/support/recording_memory.h"

namespace transload::test {
namespace {

using Recorded = WarpOver<RecordingMemory<HostPlants>>;

// e: engine fence, m: move, o: observe, f: store fence, d: drain, p: put, n: count to the network, w: store of a count,
// r: wake, P: park, s: settle, a: arrive.
TEST(Warp, FencesThenPutsThenMarksThenWakesBeforeItParks) {
  Recorded over;
  EXPECT_EQ(a_day(over), "emofdpnwwrPofwrsa");
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

// Contract 8.9.
TEST(Warp, StoresNothingOnceItsRankFailed) {
  Recorded over;
  over.memory.fails = true;
  EXPECT_EQ(a_day(over), "sa");
}

}  // namespace
}  // namespace transload::test
