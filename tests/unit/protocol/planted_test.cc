// Every branch of a canary compiles in every role, and those of FiberWarp do what their names say. The simulator's own
// instantiations take the place of this file.
#include <gtest/gtest.h>

#include "base/canary.h"
#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"
#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"
#include "protocol/dispatch/sender.h"
#include "protocol/notify.h"
#include "tests/support/recording_memory.h"

namespace transload {
namespace {
Canary now_planted = Canary::kNone;
}
bool canary_is_planted(Canary canary) { return canary == now_planted; }

using PlantedWarp = FiberWarp<test::RecordingMemory<LivePlants>>;
static_assert(Warp<PlantedWarp>);
template void run_notify(PlantedWarp&, const NotifyTrip&);
template void open_call(PlantedWarp&, const Call&);
template void close_call(PlantedWarp&, const Call&);
template void run_dispatch_sender(PlantedWarp&, const DispatchTrip&);
template void run_dispatch_forwarder(PlantedWarp&, const DispatchTrip&);
template void run_dispatch_receiver(PlantedWarp&, const DispatchTrip&);
template void run_combine_sender(PlantedWarp&, const CombineTrip&);
template void run_combine_forwarder(PlantedWarp&, const CombineTrip&);
template void run_combine_receiver(PlantedWarp&, const CombineTrip&);

namespace test {
namespace {

using Recorded = WarpOver<RecordingMemory<LivePlants>>;

class Planted : public ::testing::Test {
 protected:
  void TearDown() override { now_planted = Canary::kNone; }
  std::string day_with(Canary canary) {
    now_planted = canary;
    Recorded over;
    return a_day(over);
  }
};

TEST_F(Planted, ADayOfAWarp) {
  EXPECT_EQ(day_with(Canary::kNone), "emofdpnwwrPofwrsa");
  EXPECT_EQ(day_with(Canary::kNoEngineFence), "mofdpnwwrPofwrsa");
  EXPECT_EQ(day_with(Canary::kRelaxedObserve), "emOfdpnwwrPOfwrsa");
  EXPECT_EQ(day_with(Canary::kNoFlushBeforeWait), "emoPofdpnwwwrsa");
  EXPECT_EQ(day_with(Canary::kCreditKept), "emofpnwrPofdwwrsa");
  EXPECT_EQ(day_with(Canary::kNoStoreFence), "emodpnwwrPowrsa");
  EXPECT_EQ(day_with(Canary::kCreditUndrained), "emofpnwwrPofwrsa");
  EXPECT_EQ(day_with(Canary::kMarkBeforePut), "emofdnwwprPofwrsa");
  EXPECT_EQ(day_with(Canary::kRelaxedPublish), "emofdpnWWrPofWrsa");
  EXPECT_EQ(day_with(Canary::kCountRewritten), "emofdpNwwrPofwrsa");
  EXPECT_EQ(day_with(Canary::kDoneBeforeSettle), "emofdpnwwrPofwra");
  EXPECT_EQ(day_with(Canary::kElectedUnordered), "emofdpnwwrPoafwrs");
}

TEST_F(Planted, AWordThatFallsIsBelieved) {
  now_planted = Canary::kTornTrusted;
  Recorded over;
  Word word = 300;
  auto seen = (*over).template per<Word>(Set::only(0), [](Lane) { return Word(0); });
  auto need = [&](Lane) { return Need{&word, 512, 1}; };
  (*over).poll(Set::only(0), need, seen);
  word = 44;
  (*over).poll(Set::only(0), need, seen);
  EXPECT_EQ(seen[Lane{0}], 44u);
  EXPECT_EQ(over.memory.log, "ooF");
}

TEST_F(Planted, ACountInFlightIsRewritten) {
  now_planted = Canary::kCountRewritten;
  Recorded over;
  auto send = [&](Word count) {
    (*over).publish(Set::only(0), [&](Lane) { return Mark<RailWord>{{128 * count, 1}, count}; });
    (*over).settle();
    return over.memory.live;
  };
  const Word* const first = send(1);
  EXPECT_EQ(*first, 1u);
  send(2);
  EXPECT_EQ(*first, 2u);
}

TEST_F(Planted, MovesAfterAnAbort) {
  now_planted = Canary::kWriteAfterAbort;
  Recorded over;
  over.memory.fails = true;
  EXPECT_EQ(a_day(over), "emsa");
}

}  // namespace
}  // namespace test
}  // namespace transload
