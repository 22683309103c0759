// Whom kernels wait for, as they tell their host.
#pragma once
#include <cstdint>

#include "base/word.h"
#include "executor/cuda/rank.h"

namespace transload {

// The rank `me` is named only by waits of its own warps for each other. kNobody: for nobody but it, or they do not
// wait.
inline uint32_t awaited(const WaitsFor& said, uint32_t me) {
  const Word whom = said.peer == 0 || said.peer == Word(me) + 1 ? said.to_finish : said.peer;
  return whom == 0 || whom == Word(me) + 1 ? kNobody : uint32_t(whom - 1);
}

}  // namespace transload
