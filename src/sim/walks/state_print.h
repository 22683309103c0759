// Prints what of the model decides what can happen from now on: its flights, its bytes, and who may read what.
//
// Flights have numbers, which differ between schedules. The model only compares them: a bound for one agent ("up to
// this number its flights are fenced, told or covered") with the numbers of that agent's flights. So a bound is printed
// as how many of the flights that still matter have a number up to it. If flights 7 and 12 matter, a bound of 9 is
// printed as 1; so is a bound of 3 in a schedule where the same flights have numbers 2 and 5. A flight matters while it
// is under way or its bytes lie somewhere. Flights are counted for each region, because an agent reads only its own
// rank's memory, and streamed ones apart, because bounds for them differ. Counts are left out, because nobody reads a
// word as bytes. (WalkMemory checks both reasons.) New flights have larger numbers than all that are there. One agent's
// flights under way are printed in their order, and so are a rank's counts over the network.
//
// Knowledge is joined as the model joins it when it asks whether a cell may be read: what the agent was told with what
// its rank knew from earlier runs, and what was told of the agent that stored with what was told of its whole rank.
// What a rank knows is not printed again for its agents.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/model/flight.h"
#include "sim/walks/print.h"

namespace transload {

class StatePrint {
 public:
  StatePrint(const Flights& flights, const Space& space) : m_(flights), space_(space) {}

  // `bytes` says how many bytes of each region are in use; `is_word`, by cell, whether a count was ever given for it.
  void mix(Print& p, const std::vector<size_t>& bytes, const std::vector<bool>& is_word);

 private:
  using StoreNumbers = std::vector<uint32_t>;
  // The numbers of one agent's stores to one region, ascending.
  struct Stores {
    StoreNumbers plain, streamed;
  };
  // How many of those stores have numbers up to a bound.
  struct Reach {
    uint32_t plain = 0, streamed = 0;
  };
  // A bound: the number of the last flight within it, for plain stores and for streamed ones.
  struct Most {
    uint32_t plain = 0, streamed = 0;
  };

  void collect(const std::vector<size_t>& bytes, const std::vector<bool>& is_word);
  Stores& stores(uint32_t agent, uint32_t region) { return stores_[agent * regions_ + region]; }
  Reach reach(uint32_t agent, uint32_t region, const Most& upto) const;
  uint32_t home(uint32_t agent) const { return m_.agents_[agent].name.region; }
  StoreNumbers& numbers(uint32_t by, uint32_t region);
  Most told(const Knowledge& knows, uint32_t who, bool engine) const;
  void reached(Print& p, uint32_t agent, uint32_t region, const Most& upto) const;
  void run(Print& p, uint32_t rank, uint32_t region, uint32_t number) const;
  void arrived(Print& p, const std::vector<Arrived>& list, uint32_t region);
  void flights(Print& p);
  void flight(Print& p, const Flight& f);
  void mark(Print& p, const Flight& f);
  void order_of_far_counts(Print& p) const;
  void memory(Print& p, const std::vector<size_t>& bytes, const std::vector<bool>& is_word);
  void cell(Print& p, const Cell& cell, uint32_t region, bool is_word);
  void knowledge(Print& p);

  const Flights& m_;
  const Space& space_;
  uint32_t agents_ = 0, regions_ = 0;
  std::vector<Stores> stores_;       // [agent][region]
  std::vector<StoreNumbers> hosts_;  // [region]
  std::vector<uint64_t> names_;      // [flight] the flight's agent, and its place among that agent's
  StoreNumbers settled_;             // [agent] only arrived() uses this
};

}  // namespace transload
