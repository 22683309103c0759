// What is sent in a world: routing, rows and what experts return, all made from the seed by counting, so that every
// rank (and every checker) can make every other's part again.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "reference/reference.h"
#include "sim/scenario/scenario.h"

namespace transload {

// Rows of `bytes` bytes, read as bf16 where they are summed: magnitudes over 56 powers of two, more than fp32 adds
// exactly, so that the order of a sum shows.
void make_row(uint64_t salt, reference::Source token, size_t bytes, void* out);
uint32_t make_scale(uint64_t salt, uint32_t rank, int64_t token, uint32_t i);
float make_weight(uint64_t salt, uint32_t owner, reference::Source token, uint32_t k);

// The seed of a group of a world with this seed: what its routings and its program begin with.
uint64_t group_seed(uint64_t seed, uint32_t number = 0, uint32_t generation = 0);

// The routings of one group's dispatches.
class Routings {
 public:
  Routings(const Scenario& scenario, std::vector<uint32_t> node_sizes, uint64_t seed);

  // One dispatch, by its number. It is made when first asked for, and so are the received parts.
  struct OneDispatch {
    reference::Problem problem;
    std::vector<std::unique_ptr<reference::Received>> received;  // [ranks]
    std::vector<int64_t> rows_max;                               // [ranks] 0: none; an empty list: none for any rank
    int64_t rows_max_of(uint32_t rank) const { return rows_max.empty() ? 0 : rows_max[rank]; }
  };
  const OneDispatch& of(uint32_t number, const ScenarioCall& call);
  const reference::Received& received(uint32_t number, const ScenarioCall& call, uint32_t rank);
  uint32_t ranks() const { return ranks_; }

 private:
  struct Of {
    uint64_t salt;
    uint32_t rank, token;
  };
  std::vector<int64_t> rows_max_of(const ScenarioCall& call, const reference::Problem& p, uint64_t salt) const;
  int32_t choose(const Of& of, uint32_t k, const int32_t* before) const;

  const Scenario& scenario_;
  const std::vector<uint32_t> node_sizes_;
  const uint64_t seed_;
  uint32_t ranks_ = 0;
  std::vector<uint32_t> owner_;
  std::map<uint32_t, std::unique_ptr<OneDispatch>> made_;
};

}  // namespace transload
