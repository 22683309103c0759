// A link behind a proxy, as the warps of a GPU have it: what a rank asks for goes through a queue of commands. Here the
// rank's thread writes the queue as kernels do.
#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "channel/scaleout.h"
#include "runtime/network/proxy.h"

namespace transload::test {

class ProxiedLink final : public ScaleOut {
 public:
  static constexpr uint32_t kSlots = 8;  // few, so that every rung finds the queue full

  explicit ProxiedLink(std::unique_ptr<ScaleOut> link) : link_(std::move(link)), slots_(kSlots) {
    queue_ = {.slots = slots_.data(), .taken = &taken_, .next = nullptr, .network = nullptr, .slot_count = kSlots};
    proxy_ = std::make_unique<Proxy>(
        *link_, Proxy::Place{below_all(), queue_, &taken_}, [] { return true; },
        [this](const std::exception& error) {
          const std::lock_guard lock(mutex_);
          broken_ = error.what();
        });
  }

  std::string name() const override { return link_->name() + ", by a proxy"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put& put) override { ask(command_of(put, below_all())); }
  void publish(RailWord to, Word count) override {
    ask({.verb = RailVerb::kPublish, .rank = to.rank, .to = to.offset, .count = count});
  }
  void credit(RailWord to, Word count) override {
    ask({.verb = RailVerb::kCredit, .rank = to.rank, .to = to.offset, .count = count});
  }
  bool progress() override {
    const std::lock_guard lock(mutex_);
    if (!broken_.empty()) throw std::runtime_error("the proxy: " + broken_);
    return give();
  }
  uint32_t busy_with() const override {
    return asked_.empty() && proxy_->taken() == next_ && proxy_->quiet() ? kNobody : last_;
  }
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return asked_.empty() || !give(); }
  bool lost(LostPeer& peer) override { return proxy_->lost(peer); }

 private:
  // Ranks keep words anywhere, so offsets count from an address below all memory, which is not null.
  static char* below_all() { return reinterpret_cast<char*>(uintptr_t(4096)); }

  void ask(const RailCommand& command) {
    last_ = command.rank;
    asked_.push_back(command);
    give();
  }

  // Gives as many commands as the queue has room for, each from its last word to its first, because a proxy must not
  // take a command for whole by any one of its words.
  bool give() {
    const CommandRoom room{kSlots};
    const Word before = next_;
    while (!asked_.empty() && room.fits(next_, std::atomic_ref<Word>(taken_).load(std::memory_order_acquire))) {
      const CommandSlot slot = encode(asked_.front(), room.lap(next_));
      for (uint32_t i = CommandSlot::kWords; i-- > 0;)
        std::atomic_ref<Word>(slots_[room.slot(next_)].words[i]).store(slot.words[i], std::memory_order_release);
      asked_.pop_front();
      ++next_;
    }
    if (next_ == before) return false;
    proxy_->wake();
    proxy_->rest(proxy_->wakes());
    return true;
  }

  std::unique_ptr<ScaleOut> link_;
  std::vector<CommandSlot> slots_;
  alignas(128) Word taken_ = 0;
  RailQueue queue_{};
  std::deque<RailCommand> asked_;  // what the queue has no room for yet
  Word next_ = 0;
  uint32_t last_ = 0;
  std::mutex mutex_;  // guards what follows
  std::string broken_;
  std::unique_ptr<Proxy> proxy_;
};

}  // namespace transload::test
