// Three ranks' memory and what is on its way in it, moved by hand: for tests of the model itself.
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "sim/model/flight.h"

namespace transload::test {

constexpr uint64_t kModelSeeds = 400;
constexpr size_t kFree = 4096;  // an offset of memory that a test has not used yet

class ModelWorld final : private Wire, private Watcher {
 public:
  static constexpr uint32_t kRanks = 3;

  explicit ModelWorld(uint64_t seed, bool ordered = false, RailMode rails = RailMode::kNetwork) : ordered_(ordered) {
    Chance draw(seed);
    Manners manners;
    manners.lazy = 128;
    manners.split = 200;
    manners.again = 128;
    flights.reset({this, this, &now_, manners, false, rails}, draw.fork(1));
    chance = draw.fork(2);
    for (uint32_t rank = 0; rank < kRanks; ++rank)
      for (uint32_t warp = 0; warp < 2; ++warp) agents_.push_back(flights.add_agent({rank, rank, int32_t(warp), 0}));
    for (uint32_t rank = 0; rank < kRanks; ++rank) flights.begin_run(rank);
  }

  uint32_t warp(uint32_t rank, uint32_t number = 0) const { return agents_[rank * 2 + number]; }
  char* at(uint32_t rank, size_t offset) const { return space.region(rank) + offset; }
  Word* word(uint32_t rank, size_t number = 0) const { return reinterpret_cast<Word*>(at(rank, 8192 + 64 * number)); }

  // What a warp does. Sources are private, and stay, unless said.
  void store(uint32_t agent, char* to, char value, bool streamed = false) {
    flights.move(agent, {to, filled(value), kBytes}, streamed);
  }
  void put(uint32_t agent, uint32_t rank, size_t offset, const char* from, Word* drained = nullptr, Word count = 0) {
    flights.put(agent, {from, offset, kBytes, rank, drained, count}, rank);
  }
  void publish(uint32_t agent, uint32_t rank, Word* word, Word count) {
    flights.mark(agent, {word, count, rank, true, false});
  }
  void publish_far(uint32_t agent, uint32_t rank, Word* word, Word count) {
    flights.mark(agent, {word, count, rank, true, true});
  }
  Word observe(uint32_t agent, const Word* word) { return flights.observe(agent, word, true); }
  void read(uint32_t agent, const char* from) { flights.peek(agent, from, kBytes); }
  void copy(uint32_t agent, const char* from) {
    flights.move(agent, {kept_.emplace_back(kBytes).data(), from, kBytes}, false);
  }
  const char* filled(char value) { return kept_.emplace_back(kBytes, value).data(); }
  bool holds(const char* at, char value, size_t bytes = kBytes) const {
    for (size_t i = 0; i < bytes; ++i)
      if (at[i] != value) return false;
    return true;
  }

  // One thing lands, or the lazy ones become willing. False: nothing is on its way.
  bool land() {
    if (flights.landable() == 0 && !flights.hurry()) return false;
    flights.land(chance.below(flights.landable()));
    return true;
  }
  void land_all() {
    while (land()) {
    }
  }
  // False: it never reads so much.
  bool land_until(const Word* word, Word least) {
    while (*word < least && land()) {
    }
    return *word >= least;
  }
  bool broke(Checker checker, const char* what) const {
    return violation.checker == checker && violation.what.find(what) != std::string::npos;
  }
  bool fine() const { return violation.checker == Checker::kNone; }

  static constexpr size_t kBytes = 128;
  Space space{kRanks, 16384};
  Journal journal{4096};
  Flights flights{space, journal};
  Violation violation;
  Chance chance;
  std::vector<Word> landed;  // values of words, whole, as they landed

 private:
  uint64_t ready_at(uint32_t, const Flight&, uint64_t now) override { return now; }
  bool ordered() const override { return ordered_; }
  bool slow(bool) const override { return false; }
  void stores(uint32_t, const char*, size_t) override {}
  void counts(uint32_t, const Word*, Word) override {}
  void landed_word(uint32_t, const Word* word) override { landed.push_back(*word); }
  void captured_put(uint32_t) override {}
  void later(uint32_t, uint64_t) override {}
  void broken(Violation v) override {
    if (fine()) violation = std::move(v);
  }

  const bool ordered_;
  uint64_t now_ = 0;
  std::vector<uint32_t> agents_;
  std::vector<std::vector<char>> kept_;
};

}  // namespace transload::test
