// A Memory that writes down, one letter each, what a FiberWarp asks of it and in which order.
#pragma once
#include <string>

#include "tests/support/plain_memory.h"

namespace transload::test {

struct RecordingMemory : PlainMemory {
  std::string log;
  uint32_t every = 100;  // so many that no flush comes by itself
  bool fails = false;

  uint32_t publish_every() const { return every; }
  bool failed(int) const { return fails; }
  Word observe(int, const Word* word) { return log += 'o', *word; }
  Word arrive(int, Word* counter) { return log += 'a', (*counter)++; }
  void engine_fence(int) { log += 'e'; }
  void move(int, const Piece&, bool) { log += 'm'; }
  void sum(int, const simd::SumJob&) { log += '+'; }
  void store_fence(int) { log += 'f'; }
  void drain(int) { log += 'd'; }
  void settle(int) { log += 's'; }
  void put(int, const Put&) { log += 'p'; }
  void publish(int, const RailWord&, Word, bool) { log += 'n'; }
  void store(int, Word* at, uint32_t, Word count) { log += 'w', *at = count; }
  void wake(int, const Batch&) { log += 'r'; }
  bool park(int, Park& park) { return log += 'P', PlainMemory::park(0, park); }
  void knows(int, const Word*, Word before, Word now) {
    if (now < before) log += 'F';
  }
};

// What a role does: moves, a put, marks of each kind, a wait that on_park() meets, one more mark, and its arrival.
// Returns the log.
template <class Memory>
std::string a_day(WarpOver<Memory>& over) {
  auto& w = *over;
  Word words[3] = {}, mine = 0, arrivals = 0;
  char bytes[2] = {};
  over.memory.on_park = [&](const Park&) { mine = 1; };
  const Set one = Set::only(0);
  w.scatter(TokenPieces{bytes, 1, nullptr, 0}, one, [&](Lane) { return Destination{bytes + 1, nullptr, false}; });
  w.put(one, [&](Lane) { return Put{bytes, 0, 1, 1, nullptr, 0}; });
  w.publish(one, [&](Lane) { return Mark<RailWord>{{128, 1}, 1}; });
  w.publish(one, [&](Lane) { return Mark<PeerWord>{{&words[0], 1}, 1}; });
  w.credit(one, [&](Lane) { return Mark<PeerWord>{{&words[1], 1}, 1}; });
  auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
  w.wait_all(
      one,
      [&](Lane) {
        return Need{&mine, 1, 1};
      },
      seen);
  w.publish(one, [&](Lane) { return Mark<PeerWord>{{&words[2], 1}, 1}; });
  w.arrive(&arrivals, 1);
  return over.memory.log;
}

}  // namespace transload::test
