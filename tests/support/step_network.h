// A network in this process whose progress() moves one put or count. `regions` are those of all ranks, by rank.
#pragma once
#include <atomic>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "channel/scaleout.h"

namespace transload::test {

class StepNetwork final : public ScaleOut {
 public:
  explicit StepNetwork(std::vector<char*> regions, std::vector<char*> mapped = {})
      : regions_(std::move(regions)), mapped_(std::move(mapped)) {}
  std::string name() const override { return "steps"; }
  char* mapped(uint32_t rank) const override { return mapped_.empty() ? nullptr : mapped_[rank]; }
  void put(const Put& put) override {
    ++puts;
    queue_.push_back({true, put, {}, 0});
  }
  void publish(RailWord to, Word count) override {
    ++counts;
    queue_.push_back({false, {}, to, count});
  }
  void credit(RailWord to, Word count) override {
    ++credits;
    queue_.push_back({false, {}, to, count});
  }
  bool progress() override {
    if (queue_.empty() || stuck) return false;
    const Thing thing = queue_.front();
    queue_.pop_front();
    if (thing.is_put) {
      std::memcpy(regions_[thing.put.rank] + thing.put.offset, thing.put.from, thing.put.bytes);
      if (thing.put.drained != nullptr)
        std::atomic_ref<Word>(*thing.put.drained).store(thing.put.drained_count, std::memory_order_release);
    } else {
      Word* const word = reinterpret_cast<Word*>(regions_[thing.to.rank] + thing.to.offset);
      std::atomic_ref<Word>(*word).store(thing.count, std::memory_order_release);
    }
    return true;
  }
  uint32_t busy_with() const override {
    return queue_.empty() ? kNobody : queue_.front().is_put ? queue_.front().put.rank : queue_.front().to.rank;
  }
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

  int puts = 0, counts = 0, credits = 0;
  bool stuck = false;

 private:
  struct Thing {
    bool is_put;
    Put put;
    RailWord to;
    Word count;
  };
  std::vector<char*> regions_, mapped_;
  std::deque<Thing> queue_;
};

}  // namespace transload::test
