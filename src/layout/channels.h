// The one way in which tokens are cut into channels, and into smaller parts where no ring is needed.
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

// Tokens as warps share them that need no channels: parts of a few, and towards the end of one.
struct Shares {
  Cut coarse;  // of the first tokens
  uint64_t tokens;

  // Channels, as they are.
  TRANSLOAD_HD static Shares channels(uint64_t tokens, uint32_t channels) { return {{tokens, channels}, tokens}; }
  // The last two tokens of each warp are parts of their own: warps then end at most one token apart.
  TRANSLOAD_HD static Shares of_warps(uint64_t tokens, uint32_t warps) {
    constexpr uint64_t kTokensOfPart = 4;
    const uint64_t fine = tokens < 2 * uint64_t(warps) ? tokens : 2 * uint64_t(warps), rest = tokens - fine;
    return {{rest, uint32_t((rest + kTokensOfPart - 1) / kTokensOfPart)}, tokens};
  }

  TRANSLOAD_HD uint32_t parts() const { return coarse.channels + uint32_t(tokens - coarse.tokens); }
  TRANSLOAD_HD uint64_t begin(uint32_t part) const {
    return part < coarse.channels ? coarse.begin(part) : coarse.tokens + (part - coarse.channels);
  }
  TRANSLOAD_HD uint64_t end(uint32_t part) const { return part < coarse.channels ? coarse.end(part) : begin(part) + 1; }
};

}  // namespace transload
