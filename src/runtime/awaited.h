// Whom kernels wait for, as they tell their host.
#pragma once
#include <cstdint>

#include "base/word.h"

namespace transload {

// `said`: HostWords::waits_for. The rank `me` is named only by waits of its own warps for each other. kNobody: for
// nobody but it, or they do not wait.
inline uint32_t awaited(const Word (&said)[2], uint32_t me) {
  const Word whom = said[0] == 0 || said[0] == Word(me) + 1 ? said[1] : said[0];
  return whom == 0 || whom == Word(me) + 1 ? kNobody : uint32_t(whom - 1);
}

}  // namespace transload
