// What of the model decides what can happen from now on: its flights, its bytes, and who may read what.
//
// Flights have numbers, which differ between schedules. They are only ever compared: what is said of the flights of one
// agent ("up to here they are fenced, told, covered") with the numbers of those flights. So of each such number only
// this is printed: how many of the flights that are still of account it takes in. Of account are those under way and
// those whose bytes lie somewhere; to one region, for who reads reads its own memory; streamed ones and others apart,
// for what is told of them differs; and no counts, for nobody reads a word as bytes (WalkMemory checks both). New
// flights have larger numbers than all that is there. The order of what one agent has under way is printed as it is,
// and between agents of a rank that of counts over the network.
//
// What is known is joined as the model joins it when it asks: of the agent itself and of its rank's runs, of the one
// who stored and of all of that rank. What a rank knows anyway is not printed of its agents.
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

  // `bytes` of each region are in use. `is_word`, by cell: a count was given for it.
  void mix(Print& p, const std::vector<size_t>& bytes, const std::vector<bool>& is_word);

 private:
  using StoreNumbers = std::vector<uint32_t>;
  // Numbers of stores of one agent to one region.
  struct Stores {
    StoreNumbers plain, streamed;
  };
  struct Reach {
    uint32_t plain = 0, streamed = 0;
  };
  struct Most {
    uint32_t plain = 0, streamed = 0;  // numbers
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
  std::vector<StoreNumbers> hosts_;  // by region
  std::vector<uint64_t> names_;      // by flight: its agent and its place there
  StoreNumbers settled_;             // by agent, within arrived()
};

}  // namespace transload
