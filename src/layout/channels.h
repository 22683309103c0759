// The one function that cuts tokens into channels, or into smaller parts where no ring is needed.
#pragma once
#include <cstdint>

#include "base/macros.h"

namespace transload {

// Channel c of `channels` takes the tokens [begin(c), begin(c + 1)): contiguous, sizes differing by at most one.
struct Cut {
  uint64_t tokens;
  uint32_t channels;

  TRANSLOAD_HD uint64_t begin(uint32_t c) const { return tokens * c / channels; }
  TRANSLOAD_HD uint64_t end(uint32_t c) const { return begin(c + 1); }
  TRANSLOAD_HD uint32_t channel_of(uint64_t token) const { return uint32_t(((token + 1) * channels - 1) / tokens); }
};

}  // namespace transload
