// The journal of a world: a digest of all its events, and the last ones (or all), from which a report is told.
#pragma once
#include <cstdint>
#include <vector>

#include "base/mix.h"
#include "base/word.h"

namespace transload {

enum class Happened : uint8_t {
  kEnters,    // a warp takes up a role on a channel: c = role << 32 | channel
  kMove,      // a move was started: a = flight, b = to, c = bytes
  kSum,       // a sum was started: a = flight, b = to, c = elements
  kPut,       // a put was handed to the network: a = flight, b = to, c = bytes
  kMark,      // a count was set: a = flight, b = word, c = count
  kCredit,    // a credit was set: a = flight, b = word, c = count
  kCaptured,  // the source of a flight was read: a = flight, b = from (of a sum: 0)
  kDrained,   // the source of a put is free: a = flight, b = from, c = what its drained word reads
  kLanded,    // bytes of a flight landed: a = flight, b = to, c = bytes
  kCounted,   // a count landed: a = flight, b = word, c = what the word reads now
  kTorn,      // the low bytes of a count landed: a, b and c as of kCounted
  kObserved,  // a warp read a count: b = word, c = value
  kPeeked,    // a warp read bytes: b = from, c = bytes
  kWaits,     // a warp began to wait: b = word, c = least
  kWoke,      // the wait of a warp ended: c = 1 if its words came
  kFence,     // a fence of the stores of a warp
  kEngine,    // a fence for the copy engine of a warp
  kDrain,
  kSettle,
  kArrive,
  kCall,      // a rank began a call: a = its number, repeats counted
  kReturned,  // the last call of a rank returned
  kFault,     // the scenario hurt a rank or link: a = ScenarioFaultKind, c = the other rank
  kVerdict,   // the calls of a rank ended with a fault: a = culprit, c = kind
  kBroken,    // a checker found a rule broken: a = Checker, b = offset
  kCount
};

struct Event {
  Happened what;
  uint8_t group;
  uint16_t rank;
  int32_t warp;   // the warp's number in its rank; -1: the rank's host, or nobody
  uint64_t time;  // virtual nanoseconds
  uint64_t a, b, c;
  uint64_t from = 0;  // move, put: offset of the source
};

class Journal {
 public:
  // `last`: how many events are kept.
  explicit Journal(size_t last) : events_(last) {}

  // Addresses in b are offsets in the world's space, so that a digest is the same everywhere.
  void record(const Event& event) {
    mix(uint64_t(event.what) << 56 | uint64_t(event.group) << 48 | uint64_t(event.rank) << 32 | uint32_t(event.warp));
    mix(event.b);
    mix(event.c);
    events_[count_ % events_.size()] = event;
    ++count_;
  }
  uint64_t digest() const { return digest_; }
  uint64_t count() const { return count_; }
  // Calls f for each event that is kept, the oldest first.
  template <class F>
  void each(F f) const {
    const uint64_t first = count_ > events_.size() ? count_ - events_.size() : 0;
    for (uint64_t i = first; i < count_; ++i) f(events_[i % events_.size()]);
  }
  size_t kept() const { return events_.size(); }
  void clear() { count_ = digest_ = 0; }

 private:
  void mix(uint64_t value) {
    digest_ = (digest_ ^ value) * kSplitMixStep;
    digest_ ^= digest_ >> 29;
  }
  std::vector<Event> events_;
  uint64_t count_ = 0, digest_ = 0;
};

}  // namespace transload
