// How the warps of a call share out what they move, and read its routes.
#pragma once
#include <cstdint>

#include "base/canary.h"
#include "layout/channels.h"
#include "layout/token.h"
#include "protocol/call/grants.h"

namespace transload {

// The routes of a token, or of an entry of a log. They are read one token ahead, because loading them takes long.
template <Warp W>
struct Routed {
  uint64_t number;
  PerOf<W, Route> route;
};
template <Warp W>
TRANSLOAD_WARP Routed<W> routed_from(W& w, const Route* routes, uint32_t width, uint64_t number, uint64_t end) {
  const Set all = number < end ? Set::first(int(width)) : Set{};
  return {number, per<Route>(w, all, [&](Lane l) { return routes[number * width + l]; })};
}

// Warps claim shares, lowest first. If shares are channels, both ends of a ring claim in the same order, so the lowest
// unfinished channel always gets a warp at each end.
//
// A claim takes long to load. So the first is asked for at once, before anything that a role waits for, and a body may
// ask for the next one, ahead(), when it begins its last token; not earlier, as another warp might get to it sooner.
template <Warp W>
class Claims {
 public:
  TRANSLOAD_WARP Claims(W& w, const Call& call, Role role)
      : w_(w), claim_(call.claims + int(role)), claimed_(w.claim(claim_)) {}

  TRANSLOAD_WARP void ahead() {
    if (!asked_) claimed_ = w_.claim(claim_);
    asked_ = true;
  }
  TRANSLOAD_WARP Word next() {
    ahead();
    asked_ = false;
    return w_.pick(claimed_, 0);
  }

 private:
  W& w_;
  Word* const claim_;
  PerOf<W, Word> claimed_;
  bool asked_ = true;
};

// Calls body(share) for each of the `shares` shares that this warp gets: a channel, or a smaller share where no ring is
// needed.
template <Warp W, class Body>
TRANSLOAD_WARP void each_share(W& w, Claims<W>& claims, Role role, uint32_t shares, Body body) {
  const Word end =
      shares - Word(role == Role::kSender && shares > 1 && planted<PlantsOf<W>>(Canary::kLastChannelEmpty));
  for (Word c = claims.next(); c < end && !w.failed(); c = claims.next()) {
    const uint32_t share = uint32_t(c);
    w.enter(role, int(share));
    body(share);
  }
}

// How my tokens are shared out to the warps that send them, or sum what comes back: by channels, or by smaller
// shares where no ring is needed, because links do not serve warps evenly and a call ends with its last warp.
template <Warp W>
TRANSLOAD_WARP Shares shares_of(const Call& call, const Grants<W>& grants, uint64_t tokens) {
  if (call.map().nodes > 1 || !grants.all_reachable()) return Shares::of_channels(tokens, call.channels());
  return Shares::of_warps(tokens, call.arrivals_expected);
}

}  // namespace transload
