// Accounting for the time of ports.
#include "sim/time/port_times.h"

#include <algorithm>
#include <iterator>

namespace transload {

void PortTimes::begin() {
  began_ = *now_;
  ranks_.assign(ranks_.size(), {});
  for (OfRank& rank : ranks_) rank.since = began_;
  takers_ = takers_store_ = 0;
  busy_ = 0;
  busy_at_ = began_;
}

uint32_t* PortTimes::count_of(OfRank& rank, Doing doing) {
  if (doing == Doing::kGone) return nullptr;
  return doing == Doing::kStores ? &rank.stores : doing == Doing::kWaitsForSlot ? &rank.slots : &rank.waits;
}

void PortTimes::feeder(uint32_t number, Doing before, Doing after) {
  OfRank& rank = ranks_[number];
  account(rank);
  if (uint32_t* const count = count_of(rank, before)) --*count;
  if (uint32_t* const count = count_of(rank, after)) ++*count;
}

double PortTimes::takers_busy() const {
  return takers_ == 0 ? busy_ : busy_ + double(*now_ - busy_at_) * takers_store_ / takers_;
}

void PortTimes::taker(Doing before, Doing after) {
  busy_ = takers_busy();
  busy_at_ = *now_;
  takers_ += uint32_t(after != Doing::kGone) - uint32_t(before != Doing::kGone);
  takers_store_ += uint32_t(after == Doing::kStores) - uint32_t(before == Doing::kStores);
}

void PortTimes::sends(uint32_t number, uint64_t until) {
  OfRank& rank = ranks_[number];
  account(rank);
  rank.begun = true;
  rank.port_until = until;
}

void PortTimes::commands(uint32_t number, uint64_t until) {
  OfRank& rank = ranks_[number];
  account(rank);
  rank.proxy_until = until;
}

void PortTimes::account(OfRank& rank) {
  const uint64_t now = *now_, sent = std::clamp(rank.port_until, rank.since, now);
  if (now == rank.since) return;
  rank.ns.sends += double(sent - rank.since);
  const uint64_t asked = std::clamp(rank.proxy_until, sent, now);
  rank.ns.commands += double(asked - sent);
  const double busy = takers_busy();
  account_idle(rank, double(now - asked), (busy - rank.busy_since) / double(now - rank.since));
  rank.since = now;
  rank.busy_since = busy;
}

// A row waits for a slot because rows before it are on their way, or because the takers are busy. `busy`, the share of
// their time in which takers of all ranks stored, divides the time of such waits between the two.
void PortTimes::account_idle(OfRank& rank, double idle, double busy) {
  const double feeders = rank.stores + rank.slots + rank.waits;
  if (!rank.begun) {
    rank.ns.start += idle;
  } else if (feeders == 0) {
    rank.ns.tail += idle;
  } else {
    const double of_each = idle / feeders;
    rank.ns.stores += of_each * (rank.stores + rank.slots * busy);
    rank.ns.slots += of_each * rank.slots * (1 - busy);
    rank.ns.peers += of_each * rank.waits;
  }
}

PortTime PortTimes::end() {
  PortTime sum;
  const double all = double(*now_ - began_) * double(ranks_.size());
  for (OfRank& rank : ranks_) {
    account(rank);
    for (double PortTime::*part : {&PortTime::sends, &PortTime::start, &PortTime::stores, &PortTime::slots,
                                   &PortTime::commands, &PortTime::peers, &PortTime::tail})
      sum.*part += rank.ns.*part / all;
  }
  return sum;
}

std::string bound_of(const PortTime& port) {
  struct TimePart {
    const char* what;
    double of;
  };
  constexpr double kBusy = 0.9;  // a wire that is busy for this share of the time is the bound
  const TimePart parts[] = {{"stores", port.stores},     {"slots", port.slots}, {"commands", port.commands},
                            {"other ranks", port.peers}, {"tail", port.tail},   {"start", port.start}};
  if (port.sends >= kBusy) return "the wire";
  return std::max_element(std::begin(parts), std::end(parts),
                          [](const TimePart& a, const TimePart& b) { return a.of < b.of; })
      ->what;
}

}  // namespace transload
