// When a proxy sleeps and naps, what it takes meanwhile, and how it ends, by itself too.
#include "runtime/network/proxy.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/time_units.h"
#include "os/clock.h"
#include "tests/support/patience.h"

namespace transload::test {
namespace {

// Takes everything, and says how often it was asked to move.
class CountingLink final : public ScaleOut {
 public:
  enum class Breaks { kNever, kPublish, kProgress };
  CountingLink() : arrivals_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  std::string name() const override { return "counting"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put&) override {}
  void publish(RailWord, Word count) override {
    if (breaks_at == Breaks::kPublish) throw std::runtime_error("it takes no count");
    published = count;
  }
  bool progress() override {
    uint64_t rung = 0;
    turns.fetch_add(1);
    if (breaks_at == Breaks::kProgress) {
      breaks.fetch_add(1);
      throw std::bad_alloc();
    }
    return ::read(arrivals_.get(), &rung, sizeof rung) == ssize_t(sizeof rung);
  }
  uint32_t busy_with() const override { return kNobody; }
  int wait_fd() const override { return arrivals_.get(); }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }
  void arrive() {
    const uint64_t one = 1;
    EXPECT_EQ(::write(arrivals_.get(), &one, sizeof one), ssize_t(sizeof one));
  }

  std::atomic<Word> published{0};
  std::atomic<uint64_t> turns{0}, breaks{0};
  std::atomic<Breaks> breaks_at{Breaks::kNever};

 private:
  Descriptor arrivals_;
};

class ProxyTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kSlots = 4;

  using Broken = std::function<void(const std::exception&)>;
  static void not_broken(const std::exception& error) { ADD_FAILURE() << error.what(); }
  void start(bool naps, const Broken& broken = not_broken) {
    const RailQueue queue{.slots = slots_, .taken = &taken_, .slot_count = kSlots};
    proxy_ = std::make_unique<Proxy>(
        link_, Proxy::Place{reinterpret_cast<char*>(slots_), queue, &taken_}, [naps] { return naps; }, broken);
  }
  // As a kernel does, which wakes nobody.
  void give(Word count) {
    const CommandRoom room{kSlots};
    const CommandSlot slot =
        encode({.verb = RailVerb::kPublish, .rank = 1, .to = 0, .count = count}, room.lap(count - 1));
    for (uint32_t i = CommandSlot::kWords; i-- > 0;)
      std::atomic_ref<Word>(slots_[room.slot(count - 1)].words[i]).store(slot.words[i], std::memory_order_release);
  }
  // No turn in 8 ms: it sleeps, or naps.
  bool quiet() {
    return eventually([this] {
      const uint64_t before = link_.turns;
      std::this_thread::sleep_for(std::chrono::milliseconds(8));
      return link_.turns == before;
    });
  }

  CountingLink link_;
  CommandSlot slots_[kSlots] = {};
  alignas(kWordBytes) Word taken_ = 0;
  std::unique_ptr<Proxy> proxy_;
};

// More laps than the queue has slots, soon after work and long after it.
TEST_F(ProxyTest, NappingTakesWhatNobodyRangFor) {
  start(true);
  for (Word count = 1; count <= 3 * kSlots; ++count) {
    ASSERT_TRUE(quiet());
    if (count % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(120));
    give(count);
    ASSERT_TRUE(eventually([&] { return link_.published == count; })) << count << " of a proxy that naps";
    EXPECT_TRUE(eventually([&] { return proxy_->taken() == count && proxy_->quiet(); }));
  }
}

TEST_F(ProxyTest, IsWokenForACallAndByTheNetwork) {
  start(false);
  ASSERT_TRUE(quiet());
  proxy_->wake();
  give(1);
  ASSERT_TRUE(eventually([&] { return link_.published == 1u; }));
  const uint64_t in_call = link_.turns;
  EXPECT_TRUE(eventually([&] { return link_.turns > in_call + 1000; })) << "it polls as long as a call runs";
  proxy_->rest(proxy_->wakes());
  ASSERT_TRUE(quiet());
  const uint64_t before = link_.turns;
  link_.arrive();
  EXPECT_TRUE(eventually([&] { return link_.turns > before; }));
}

TEST_F(ProxyTest, EndsFromItsSleep) {
  for (const bool naps : {false, true}) {
    start(naps);
    ASSERT_TRUE(quiet());
    EXPECT_TRUE(proxy_->end(now_ns() + 60 * kSecondNs));
    proxy_.reset();
  }
}

// Once, as it is, and with the command that it choked on not taken; then its thread has ended.
TEST_F(ProxyTest, TellsOfALinkThatBreaks) {
  std::atomic<uint32_t> told{0};
  start(false, [&told](const std::exception& error) {
    EXPECT_STREQ(error.what(), "it takes no count");
    EXPECT_EQ(dynamic_cast<const std::bad_alloc*>(&error), nullptr);
    told.fetch_add(1);
  });
  ASSERT_TRUE(quiet());
  link_.breaks_at = CountingLink::Breaks::kPublish;
  proxy_->wake();
  give(1);
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_TRUE(proxy_->end(now_ns() + 60 * kSecondNs));
  EXPECT_EQ(proxy_->taken(), 0u);
  EXPECT_EQ(link_.published, 0u);
  proxy_.reset();
  EXPECT_EQ(told, 1u);
}

// Its kind too, as Control::break_down looks at it.
TEST_F(ProxyTest, TellsOfALinkWithoutMemory) {
  std::atomic<uint32_t> told{0};
  link_.breaks_at = CountingLink::Breaks::kProgress;
  start(true, [&told](const std::exception& error) {
    EXPECT_NE(dynamic_cast<const std::bad_alloc*>(&error), nullptr) << error.what();
    told.fetch_add(1);
  });
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_TRUE(proxy_->end(now_ns() + 60 * kSecondNs));
}

// Its group is gone, so nobody hears of it.
TEST_F(ProxyTest, TellsNothingAsAnOrphan) {
  start(false);
  ASSERT_TRUE(quiet());
  proxy_->orphan();
  link_.breaks_at = CountingLink::Breaks::kProgress;
  proxy_->wake();
  ASSERT_TRUE(eventually([&] { return link_.breaks == 1; }));
  EXPECT_TRUE(proxy_->end(now_ns() + 60 * kSecondNs));
}

}  // namespace
}  // namespace transload::test
