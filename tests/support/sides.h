// Ranks that share memory, in this process or its children. Each is a region, a bell and its Neighbours.
#pragma once
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/support/child.h"
#include "transload/status.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/shm/shared_region.h"

namespace transload::test {

// One rank. Its region is filled with its number + 1, which tells whose bytes they are.
struct Side {
  explicit Side(uint32_t rank, size_t bytes = 8192)
      : bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        region(std::make_shared<SharedRegion>(bytes)),
        neighbours(rank, region, bell.get()) {
    std::memset(region->base(), int(rank + 1), bytes);
  }
  Descriptor bell;
  std::shared_ptr<SharedRegion> region;
  Neighbours neighbours;
};

inline std::vector<uint32_t> all_of(uint32_t ranks) {
  std::vector<uint32_t> all(ranks);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

inline Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Code::kOk, "");
}

// Every child does this first: it offers its region to the parent, and hears the offers of all ranks.
inline std::vector<RegionOffer> trade_offers(int line, const Neighbours& mine, uint32_t ranks) {
  say(line, mine.offer().pack());
  std::vector<RegionOffer> offers;
  for (uint32_t rank = 0; rank < ranks; ++rank) offers.push_back(RegionOffer::unpack(hear(line)));
  return offers;
}

// The parent's part of trade_offers(), where all ranks are children.
inline void spread_offers(const std::vector<std::unique_ptr<Child>>& children) {
  std::vector<std::string> offers;
  for (const auto& child : children) offers.push_back(hear(child->line()));
  for (const auto& child : children)
    for (const std::string& offer : offers) say(child->line(), offer);
}

}  // namespace transload::test
