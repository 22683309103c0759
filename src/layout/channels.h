// The one way in which tokens are cut into channels, and into smaller shares where no ring is needed.
#pragma once
#include <cstdint>

#include "base/check.h"
#include "base/macros.h"

namespace transload {

// Channel c of `channels` takes the tokens [begin(c), begin(c + 1)): contiguous, sizes differing by at most one.
struct Cut {
  uint64_t tokens;
  uint32_t channels;

  TRANSLOAD_HD uint64_t begin(uint32_t c) const {
    TRANSLOAD_CHECK(c <= channels);
    return tokens * c / channels;
  }
  TRANSLOAD_HD uint64_t end(uint32_t c) const { return begin(c + 1); }
  TRANSLOAD_HD uint32_t channel_of(uint64_t token) const {
    TRANSLOAD_CHECK(token < tokens);
    return uint32_t(((token + 1) * channels - 1) / tokens);
  }
};

// How warps share tokens: by channels; or, where no ring is needed, in shares of a few tokens, and of one at the end.
struct Shares {
  static constexpr uint32_t kTokensOfShare = 4;

  uint64_t tokens;
  uint32_t channels;  // 0: warps take shares of a few tokens, not channels
  uint32_t coarse;    // shares that have kTokensOfShare tokens; they come before the shares of one

  TRANSLOAD_HD static Shares of_channels(uint64_t tokens, uint32_t channels) { return {tokens, channels, 0}; }
  // At least the last two tokens of each warp are shares of their own, so warps end at most one token apart.
  TRANSLOAD_HD static Shares of_warps(uint64_t tokens, uint32_t warps) {
    const uint64_t fine = 2 * uint64_t(warps);
    return {tokens, 0, tokens < fine ? 0 : uint32_t((tokens - fine) / kTokensOfShare)};
  }

  TRANSLOAD_HD uint32_t count() const {
    return channels != 0 ? channels : coarse + uint32_t(tokens - uint64_t(coarse) * kTokensOfShare);
  }
  TRANSLOAD_HD uint64_t begin(uint32_t share) const {
    TRANSLOAD_CHECK(share <= count());
    if (channels != 0) return Cut{tokens, channels}.begin(share);
    const uint64_t fine = share < coarse ? 0 : share - coarse;
    return (share - fine) * kTokensOfShare + fine;
  }
  TRANSLOAD_HD uint64_t end(uint32_t share) const { return begin(share + 1); }
};

}  // namespace transload
