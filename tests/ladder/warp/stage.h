// Two ranks as the two sides of a rung, and their warps as its agents: what tests/ladder/rungs are played on here.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <iterator>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "model_ranks.h"
#include "tests/ladder/rungs/agent.h"
#include "tests/ladder/rungs/ends.h"
#include "tests/support/patience.h"
#include "tests/support/sanitized.h"

namespace transload::ladder {

template <class R>
struct Agent : rungs::AgentBase<typename R::Warp> {
  using Base = rungs::AgentBase<typename R::Warp>;
  R& ranks;
  std::vector<Word> memory = {};

  Word* word(int of, int i) const { return ranks.word(i, of); }
  Word* mine(int i) const { return ranks.word(i, this->side); }
  char* room(int of) const { return ranks.room(of); }
  char* own(uint64_t, uint64_t bytes) {
    memory.resize(bytes / sizeof(Word));
    return reinterpret_cast<char*>(memory.data());
  }
  template <class Body>
  void lanes(uint32_t n, Body body) const {
    for (uint32_t k = 0; k < n; ++k) body(k);
  }
  void wrote() const {}
  void meet() const {}
  void publish(int of, int i, Word count) { Base::publish({word(of, i), uint32_t(of)}, count); }
  void credit(int of, int i, Word count) { Base::credit({word(of, i), uint32_t(of)}, count); }
  // As a caller would tell another thread that its call has returned.
  void tell(int of, int i, Word count) const {
    if constexpr (requires { ranks.ring(of); }) {
      std::atomic_ref<Word>(*word(of, i)).store(count, std::memory_order_release);
      ranks.ring(of);
    } else {
      ADD_FAILURE() << "in a world nothing is told but by marks";
    }
  }
  void set(int i, Word value) const { *mine(i) = value; }
  Word value(int i) const { return *mine(i); }
  void count(uint32_t* at) const { ++*at; }
  uint64_t now_ns() const {
    return uint64_t(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
  }
};

template <class R>
class Stage {
 public:
  struct Scatter {};
  using Reduce = Scatter;
  struct Setting {
    uint32_t publish_every = 8, credit_every = 8, piece_bytes = 4096;
    uint64_t deadline_ns = 60'000'000'000;
    typename R::Change change = nullptr;
  };
  static constexpr bool kWorld = requires(R & ranks, char* at) { ranks.stored(at, size_t()); };
  static constexpr size_t kRoomBytes = 16 << 20;
  static constexpr int kUncounted = kWorld ? 0 : 1;  // a world finds a load of what no count covers
  static constexpr uint32_t kPieces[] = {4096};      // a CPU has none
  static constexpr bool kStaged[] = {false, true};
  static constexpr uint32_t kElementsMost = kElementsOfSums;
  static constexpr uint64_t kLateNs = ~0ull;   // whoever else runs here may take the processor
  static constexpr bool kHearsOfDone = false;  // its host hears of the wait that says most

  Stage() { clear(); }
  ~Stage() {
    EXPECT_EQ(ledger.wrong, 0u) << ledger.first;
    EXPECT_GT(ledger.done + compared_, 0u) << "a rung that compares nothing";
  }
  Stage(const Stage&) = delete;

  rungs::Ledger ledger;
  // A CPU is through with a round sooner than a GPU, and has more to show: it may be overtaken only now and then.
  static uint64_t rounds(uint64_t n) { return R::scaled(10 * n); }
  static uint64_t scaled(uint64_t n) { return R::scaled(n); }

  void clear() {
    ranks_.reset();
    ranks_.emplace(2, kRoomBytes);
    for (Heard& heard : heard_) heard.clear();
  }
  Word word(int side, int i) { return *ranks_->word(i, side); }
  void set_word(int side, int i, Word value) { *ranks_->word(i, side) = value; }
  void fill(int side, int value, size_t bytes) { std::memset(ranks_->room(side), value, bytes); }
  void write(int side, size_t at, const void* from, size_t bytes) {
    if (bytes == 0) return;
    std::memcpy(ranks_->room(side) + at, from, bytes);
    if constexpr (kWorld) ranks_->stored(ranks_->room(side) + at, bytes);
  }
  std::vector<char> read(int side, size_t at, size_t bytes) {
    const char* const from = ranks_->room(side) + at;
    return {from, from + bytes};
  }

  template <class Pipe, class Rung>
  void play(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    const auto tasks = [&](int side) {
      std::vector<typename R::Task> list;
      for (int number = 0; number < agents[side]; ++number)
        list.push_back([&, side, number](typename R::Warp& w) { play_one(rung, w, side, number); });
      return list;
    };
    ranks_->run(tasks, [&](HostMemoryOptions& o, SchedulerOptions& s) {
      o.publish_every = setting.publish_every;
      o.deadline_ms = uint32_t(setting.deadline_ns / 1'000'000);
      s.fibers_max = std::max({s.fibers_max, agents[0], agents[1]});
      if (setting.change) setting.change(o, s);
    });
  }

  // For ranks of this process, whose waits may end in vain. An expired wait brings the verdict at once.
  template <class Pipe, class Rung>
  void start(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    Setting heard = setting;
    heard.change = [this](HostMemoryOptions& o, SchedulerOptions&) { listen(o); };
    running_ = std::thread([this, rung, both = std::array{agents[0], agents[1]}, heard] {
      play<Pipe>(rung, {both[0], both[1]}, heard);
    });
  }
  void finish() { running_.join(); }
  rungs::Ended ended(int side) { return heard_[side].ended; }
  bool hears(int side, Waiting what, Word whom) {
    Heard& heard = heard_[side];
    return eventually([&] {
      const std::lock_guard hold(heard.lock);
      return heard.waits.present && heard.waits.what == what && heard.waits.whom == whom;
    });
  }
  void stop(int side) {
    ranks_->abort_word() = 1;
    ranks_->ring(side);
  }

 private:
  // What a side told its host: of how it ended, the first.
  struct Heard {
    std::mutex lock;
    WaitRecord waits;
    rungs::Ended ended;
    void clear() {
      waits = {};
      ended = {};
    }
    void end(const rungs::Ended& by) {
      const std::lock_guard hold(lock);
      if (ended.by == rungs::EndedBy::kThemselves) ended = by;
    }
  };
  void listen(HostMemoryOptions& o) {
    Heard& heard = heard_[o.rank];
    o.on_idle = [&heard](const WaitRecord& w) {
      const std::lock_guard hold(heard.lock);
      heard.waits = w;
    };
    o.on_expired = [this, &heard](const WaitRecord& w) {
      heard.end({rungs::EndedBy::kDeadline, w.role, w.channel, int(w.what), w.whom, w.seen, w.expected});
      ranks_->abort_word() = 1;
      return true;
    };
    o.on_broken = [&heard](const BrokenRecord& b) {
      heard.end({rungs::EndedBy::kBroken, b.role, b.channel, int(b.what), b.rank, b.seen, b.expected});
    };
  }
  template <class Rung>
  void play_one(const Rung& rung, typename R::Warp& w, int side, int number) {
    Agent<R> agent{{w, side, number, {}}, *ranks_};
    rung(agent);
    compared_ += agent.tally.done;
    if (ranks_->abort_word() != 0) heard_[side].end({.by = rungs::EndedBy::kHost});
    rungs::Ledger here;  // of this process, which may be a child
    here.add(agent.tally, side);
    EXPECT_EQ(here.wrong, 0u) << here.first;
  }

  std::optional<R> ranks_;
  std::atomic<uint64_t> compared_{0};
  Heard heard_[2];
  std::thread running_;
};

}  // namespace transload::ladder
