// Ranks that get what the reference says. Each call's inputs of all ranks lie on a board, where every rank looks up its
// own outputs.
#pragma once
#include <barrier>
#include <memory>
#include <vector>

#include "sim/scenario/scenario.h"
#include "sim/world/caller.h"

namespace transload::test {

class ReferenceGroup {
 public:
  explicit ReferenceGroup(const Scenario& scenario);
  ~ReferenceGroup();
  // For a thread of its own: a call returns once all ranks have made it.
  std::unique_ptr<Caller> caller(uint32_t rank);

 private:
  class Rank;
  struct Board;
  std::unique_ptr<Board> board_;
};

}  // namespace transload::test
