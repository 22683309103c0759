// Where the time of each rank's port out goes. While the port stands idle, its time is put down to what the warps that
// fill it do.
#pragma once
#include <cstdint>
#include <vector>

#include "sim/time/timed_job.h"

namespace transload {

// What a warp does that feeds the port out, or that takes what comes in.
enum class Doing : uint8_t { kGone, kStores, kWaitsForSlot, kWaits };

class PortTimes {
 public:
  PortTimes(uint32_t ranks, const uint64_t* now) : now_(now), ranks_(ranks) {}

  void begin();  // a call begins, with no warp at work
  // A warp does something else from now on: feeder() tells of a warp that feeds the port of `rank`, taker() of a warp
  // that takes, on any rank.
  void feeder(uint32_t rank, Doing before, Doing after);
  void taker(Doing before, Doing after);
  // The rank's port is busy from now to `until`.
  void sends(uint32_t rank, uint64_t until);
  void rests(uint32_t rank) { account(ranks_[rank]); }  // the port has nothing to send
  // The rank's proxy is busy with commands from now to `until`.
  void commands(uint32_t rank, uint64_t until);
  // The call is over on all ranks.
  PortTime end();

 private:
  struct OfRank {
    uint64_t since = 0, port_until = 0, proxy_until = 0;
    double busy_since = 0;                      // takers_busy() at the time `since`
    uint32_t stores = 0, slots = 0, waits = 0;  // feeders that store, wait for a slot, or wait for something else
    bool begun = false;
    PortTime ns;
  };
  static uint32_t* count_of(OfRank& rank, Doing doing);
  double takers_busy() const;
  void account(OfRank& rank);
  static void account_idle(OfRank& rank, double idle, double busy);

  const uint64_t* const now_;
  uint64_t began_ = 0;
  std::vector<OfRank> ranks_;
  uint32_t takers_ = 0, takers_store_ = 0;  // takers of all ranks: how many there are, and how many of them store
  double busy_ = 0;                         // nanoseconds that the average taker has stored up to busy_at_
  uint64_t busy_at_ = 0;
};

}  // namespace transload
