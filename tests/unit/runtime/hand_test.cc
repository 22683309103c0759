// A network that moves only while somebody calls it, between its rank's calls.
#include "runtime/network/hand.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/word.h"
#include "os/descriptor.h"
#include "tests/support/patience.h"

namespace transload {
namespace {

// Counts who asks it to move. It says that its descriptor wakes, which never happens.
class Moved final : public ScaleOut {
 public:
  std::string name() const override { return "moved"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put&) override {}
  void publish(RailWord, Word) override {}
  bool progress() override {
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    by_rank_ += std::this_thread::get_id() == rank_;
    blocked_ += sigismember(&blocked, SIGTERM) == 1;
    ++turns_;
    return false;
  }
  uint32_t busy_with() const override { return kNobody; }
  int wait_fd() const override { return silence_.get(); }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

  uint64_t turns() const { return turns_; }
  uint64_t by_rank() const { return by_rank_; }
  uint64_t with_signals_blocked() const { return blocked_; }

 private:
  const Descriptor silence_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  const std::thread::id rank_ = std::this_thread::get_id();
  std::atomic<uint64_t> turns_{0}, by_rank_{0}, blocked_{0};
};

TEST(Hand, MovesTheNetworkWhileNobodyHoldsIt) {
  Moved network;
  {
    Hand hand(network);
    EXPECT_TRUE(eventually([&] { return network.turns() > 0; }));
    for (int hold = 0; hold < 100; ++hold) {
      uint64_t held = 0;
      {
        const Hand::Hold mine(&hand);
        held = network.turns();
        network.progress();
        std::this_thread::yield();
        EXPECT_EQ(network.turns(), held + 1);
      }
      ASSERT_TRUE(eventually([&] { return network.turns() > held + 1; }));
    }
  }
  EXPECT_EQ(network.by_rank(), 100u);
  EXPECT_EQ(network.with_signals_blocked(), network.turns() - network.by_rank());
}

}  // namespace
}  // namespace transload
