// What an agent has been told of the stores of others, and so may read. Nothing else makes a store visible to it, not
// even that it has landed. An agent learns no more than channel/contract.md says: a count of a rank tells what that
// rank wrote, and nothing of what a third one had told that rank.
#pragma once
#include <cstdint>
#include <vector>

namespace transload {

// Up to which of the world's flights, by number, those of one agent are covered.
struct Told {
  uint32_t plain = 0;     // stores to the memory of the rank that was told
  uint32_t streamed = 0;  // stores to that memory past the cache
  uint32_t settled = 0;   // stores to any memory
  void raise(const Told& more) {
    plain = plain < more.plain ? more.plain : plain;
    streamed = streamed < more.streamed ? more.streamed : streamed;
    settled = settled < more.settled ? more.settled : settled;
  }
};

class Knowledge {
 public:
  // What is known of `who`; null: nothing. `engine`: what the copy engine may read, which was known at its last fence.
  const Told* of(uint32_t who, bool engine) const {
    if (entries_.empty()) return nullptr;
    const uint32_t slot = slots_[find(who)];
    if (slot == 0) return nullptr;
    return engine ? &entries_[slot - 1].engine : &entries_[slot - 1].now;
  }

  void learn(uint32_t who, const Told& told) {
    if (slots_.size() <= entries_.size() * 2) grow();
    uint32_t& slot = slots_[find(who)];
    if (slot == 0) {
      entries_.push_back({who, false, {}, {}});
      slot = uint32_t(entries_.size());
    }
    Learned& entry = entries_[slot - 1];
    entry.now.raise(told);
    if (entry.fresh) return;
    entry.fresh = true;
    fresh_.push_back(slot - 1);
  }

  void engine_fence() {
    for (const uint32_t at : fresh_) {
      entries_[at].engine = entries_[at].now;
      entries_[at].fresh = false;
    }
    fresh_.clear();
  }

  void learn_all(const Knowledge& other) {
    for (const Learned& entry : other.entries_) learn(entry.who, entry.now);
  }
  void clear() {
    if (entries_.empty()) return;
    entries_.clear();
    fresh_.clear();
    slots_.assign(slots_.size(), 0);
  }

 private:
  struct Learned {
    uint32_t who;
    bool fresh;  // learned since the last fence
    Told now, engine;
  };
  uint32_t find(uint32_t who) const {
    const uint32_t mask = uint32_t(slots_.size()) - 1;
    uint32_t at = (who * 0x9E3779B1u >> 12) & mask;
    while (slots_[at] != 0 && entries_[slots_[at] - 1].who != who) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    slots_.assign(slots_.empty() ? 16 : slots_.size() * 2, 0);
    for (uint32_t i = 0; i < entries_.size(); ++i) slots_[find(entries_[i].who)] = i + 1;
  }

  std::vector<Learned> entries_;
  std::vector<uint32_t> slots_;  // a table of places in `entries_`, from 1; 0: free
  std::vector<uint32_t> fresh_;
};

}  // namespace transload
