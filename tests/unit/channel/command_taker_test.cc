// The proxy's end of the queue: which commands it takes, when it shows that, and when it may sleep.
#include "channel/command_taker.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace transload {
namespace {

// A queue in plain memory. `on_look` is called when the words of a slot have been loaded, and before they are judged.
struct Hand {
  using Plants = NoPlants;

  explicit Hand(uint32_t slots) : room{slots}, queue(slots) {}
  void give(uint32_t rank) {
    queue[room.slot(tickets)] = encode({.verb = RailVerb::kPublish, .rank = rank, .to = 0}, room.lap(tickets));
    ++tickets;
  }

  bool calls_over() const { return over; }
  CommandSlot look(uint32_t slot) const {
    const CommandSlot seen = queue[slot];
    if (on_look) on_look();
    return seen;
  }
  void carry(const RailCommand& command) { carried.push_back(command.rank); }
  void show_taken(Word count) { shown = count; }

  const CommandRoom room;
  std::vector<CommandSlot> queue;
  std::function<void()> on_look;
  std::vector<uint32_t> carried;
  Word tickets = 0, shown = 0;
  bool over = false;
};
using Taker = CommandTaker<Hand>;

TEST(CommandTaker, TakesWhatHasArrivedInOrderAndAtMostSoMuch) {
  Hand hand(4);
  Taker taker(hand.room);
  EXPECT_EQ(taker.turn(hand, 2), Taker::Took::kNone);
  for (const uint32_t rank : {5u, 3u, 9u}) hand.give(rank);
  EXPECT_EQ(taker.turn(hand, 2), Taker::Took::kSome);
  EXPECT_EQ(hand.carried, std::vector<uint32_t>({5, 3}));
  EXPECT_EQ(hand.shown, 2u);
  EXPECT_EQ(taker.turn(hand, 2), Taker::Took::kSome);
  EXPECT_EQ(hand.carried.back(), 9u);
  EXPECT_EQ(hand.shown, 3u);
  EXPECT_EQ(taker.turn(hand, 2), Taker::Took::kNone);
}

TEST(CommandTaker, GoesThroughTheSlotsForEver) {
  Hand hand(2);
  Taker taker(hand.room);
  for (uint32_t i = 0; i < 1000; ++i) {
    hand.give(i);
    ASSERT_EQ(taker.turn(hand, 8), Taker::Took::kSome);
    ASSERT_EQ(hand.carried.back(), i);
    ASSERT_EQ(hand.shown, i + 1);
  }
}

// What a call gives last may come between a look and the end of the call: then there has to be one more look.
TEST(CommandTaker, SleepsOnNothingThatCameBeforeTheEnd) {
  Hand hand(2);
  Taker taker(hand.room);
  hand.on_look = [&] {
    if (hand.over) return;
    hand.give(7);
    hand.over = true;
  };
  EXPECT_EQ(taker.turn(hand, 8), Taker::Took::kNone);
  EXPECT_EQ(taker.turn(hand, 8), Taker::Took::kSome);
  EXPECT_EQ(taker.turn(hand, 8), Taker::Took::kNoneAndOver);
}

}  // namespace
}  // namespace transload
