// Which rank owns an expert. No other file knows the rule.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/macros.h"

namespace transload {

// Views of the tables of a PlacementTable.
struct Placement {
  const uint32_t* owner;       // [experts] rank
  const uint32_t* place;       // [experts] position when experts are sorted by (owner, id)
  const uint32_t* rank_begin;  // [ranks + 1] first position of each rank
  uint32_t experts;

  // The local id of an expert at its owner.
  TRANSLOAD_HD uint32_t local(uint32_t expert) const { return place[expert] - rank_begin[owner[expert]]; }
  TRANSLOAD_HD uint32_t experts_of(uint32_t rank) const { return rank_begin[rank + 1] - rank_begin[rank]; }
};

class PlacementTable {
 public:
  // `owner` is [experts], or empty for contiguous blocks whose sizes differ by at most one.
  PlacementTable(uint32_t experts, uint32_t ranks, const std::vector<uint32_t>& owner) : owner_(owner) {
    if (owner_.empty())
      for (uint32_t r = 0; r < ranks; ++r)
        for (uint32_t e = block_begin(experts, ranks, r); e < block_begin(experts, ranks, r + 1); ++e)
          owner_.push_back(r);
    begin_.assign(ranks + 1, 0);
    TRANSLOAD_CHECK(owner_.size() == experts);
    for (const uint32_t r : owner_) ++begin_[r + 1];
    for (uint32_t r = 0; r < ranks; ++r) begin_[r + 1] += begin_[r];
    std::vector<uint32_t> next(begin_.begin(), begin_.end() - 1);
    for (const uint32_t r : owner_) place_.push_back(next[r]++);
  }
  PlacementTable(const PlacementTable&) = delete;
  PlacementTable& operator=(const PlacementTable&) = delete;

  Placement view() const { return {owner_.data(), place_.data(), begin_.data(), uint32_t(owner_.size())}; }
  uint32_t experts_of_rank_max() const {
    uint32_t most = 0;
    for (size_t r = 0; r + 1 < begin_.size(); ++r)
      most = begin_[r + 1] - begin_[r] > most ? begin_[r + 1] - begin_[r] : most;
    return most;
  }

 private:
  static uint32_t block_begin(uint32_t experts, uint32_t ranks, uint32_t r) {
    const uint32_t least = experts / ranks, more = experts % ranks;  // the first `more` ranks own `least` + 1 experts
    return r * least + (r < more ? r : more);
  }
  std::vector<uint32_t> owner_, place_, begin_;
};

}  // namespace transload
