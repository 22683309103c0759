// One group of a world, with what its ranks share.
#pragma once
#include <memory>
#include <vector>

#include "sim/world/world.h"

namespace transload {

struct World::GroupOf {
  uint32_t number = 0;      // index among the groups that exist at once
  uint32_t generation = 0;  // 0: made when the world begins; 1: made by those that survived a group of generation 0
  uint64_t seed = 0;
  uint32_t first_region = 0;
  std::vector<uint32_t> processes;   // [ranks] which of the scenario's ranks the process is
  std::vector<uint32_t> node_sizes;  // node sizes of this group
  std::unique_ptr<Routings> routings;
  std::unique_ptr<SimControl> control;
  std::vector<std::unique_ptr<SimRank>> ranks;
  std::unique_ptr<AddressBook> book;
  std::unique_ptr<CreditChecker> credit;
  std::vector<Ending> endings;
  std::vector<bool> ended;

  uint32_t rank_of(uint32_t process) const {
    for (uint32_t rank = 0; rank < processes.size(); ++rank)
      if (processes[rank] == process) return rank;
    return kNobody;
  }
};

}  // namespace transload
