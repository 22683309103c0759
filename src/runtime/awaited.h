// Whom kernels wait for, as they tell their host.
#pragma once
#include <cstdint>

#include "base/word.h"
#include "executor/cuda/rank.h"

namespace transload {

// The rank that kernels of the rank `me` wait for; kNobody if they wait for none. They name `me` where its own warps
// wait for each other, which does not count.
inline uint32_t awaited(const WaitsFor& said, uint32_t me) {
  const Word whom = said.peer == 0 || said.peer == Word(me) + 1 ? said.to_finish : said.peer;
  return whom == 0 || whom == Word(me) + 1 ? kNobody : uint32_t(whom - 1);
}

}  // namespace transload
