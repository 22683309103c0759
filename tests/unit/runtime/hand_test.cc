// A network that moves only while somebody calls it, between its rank's calls.
#include "runtime/network/hand.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "base/word.h"
#include "tests/support/patience.h"

namespace transload {
namespace {

// Counts who asked it to move, and has no news that wake anybody.
class Moved final : public ScaleOut {
 public:
  std::string name() const override { return "moved"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put&) override {}
  void publish(RailWord, Word) override {}
  bool progress() override {
    by_rank_ += std::this_thread::get_id() == rank_;
    ++turns_;
    return false;
  }
  uint32_t busy_with() const override { return kNobody; }
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

  uint64_t turns() const { return turns_; }
  uint64_t by_rank() const { return by_rank_; }

 private:
  const std::thread::id rank_ = std::this_thread::get_id();
  std::atomic<uint64_t> turns_{0}, by_rank_{0};
};

TEST(Hand, MovesTheNetworkWhileNobodyHoldsIt) {
  Moved network;
  Hand hand(network);
  for (int hold = 0; hold < 100; ++hold) {
    const uint64_t before = network.turns();
    EXPECT_TRUE(eventually([&] { return network.turns() > before; }));
    const Hand::Hold mine(&hand);
    const uint64_t held = network.turns();
    network.progress();
    std::this_thread::yield();
    EXPECT_EQ(network.turns(), held + 1);
  }
  EXPECT_EQ(network.by_rank(), 100u);
}

TEST(Hand, EndsAndMovesNothingAfterIt) {
  Moved network;
  auto hand = std::make_unique<Hand>(network);
  const Hand::Hold none(nullptr);
  { const Hand::Hold mine(hand.get()); }
  hand.reset();
  const uint64_t turns = network.turns();
  std::this_thread::yield();
  EXPECT_EQ(network.turns(), turns);
}

}  // namespace
}  // namespace transload
