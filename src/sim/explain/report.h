// Turns events of a world into the glossary's words: who did what to which slot or word, and when.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/world/world.h"

namespace transload {

// What a story is about: one ring, or some bytes and the word that counts them.
struct Focus {
  bool ring = false;
  const AddressBook* book = nullptr;
  RingPlace place;              // the place at the consumer
  uint64_t begin = 0, end = 0;  // offsets of the bytes, unless the focus is a ring
  std::string name;             // name of the bytes
  bool given() const { return ring || begin < end; }
  bool holds(uint64_t offset, uint64_t bytes) const;
  std::string text(const World& world) const;
};
Focus focus_on(const World& world, uint64_t offset, uint64_t bytes);

// Who does something in the story: a warp, a proxy or a host.
struct Teller {
  uint8_t group;
  uint16_t rank;
  int32_t warp;
  auto operator<=>(const Teller&) const = default;
};

// One flight as the story tells it: a move, sum, put or count, and what became of it.
struct Tale {
  Event begun;
  uint64_t number = 0;  // number of the event that began the flight
  std::string who;
  uint64_t landed_bytes = 0;
  uint64_t read_at = 0, counted_at = 0;  // virtual time; 0: not yet
  bool is_count() const { return begun.what == Happened::kMark; }
  bool landed() const { return is_count() ? counted_at != 0 : landed_bytes >= begun.c && begun.what != Happened::kSum; }
};

// All events of a world, in order, each told once.
class Report {
 public:
  Report(const World& world, const Focus& focus) : world_(world), focus_(focus) {}

  // Takes in the next event. False if the event does not concern the focus, or repeats what is known.
  bool tell(const Event& event, uint64_t number);
  bool concerns(const Event& event) const;
  std::string line(const Event& event, uint64_t number) const;  // must be called right after tell()
  std::string who(const Event& event) const;
  std::string place(uint64_t offset) const;
  static std::string time(uint64_t ns);

  const std::map<uint64_t, Tale>& tales() const { return tales_; }  // keyed by number of the event that began each
  const Tale* tale_of(uint64_t flight) const;  // the latest flight in this place of Flights; null: none

 private:
  bool repeats(const Event& event);
  std::string does(const Event& event) const;

  const World& world_;
  const Focus& focus_;
  std::map<Teller, uint64_t> roles_;
  std::map<std::pair<Teller, uint64_t>, uint64_t> seen_;  // what a warp last read in a word
  std::map<uint64_t, Tale> tales_;
  std::map<uint64_t, uint64_t> flights_;  // keyed by place in Flights: the event that began the latest flight there
};

}  // namespace transload
