// The list of walks, and running them.
#include "sim/walks/exhaustive.h"

#include <transload/status.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include "base/probes/planting.h"
#include "sim/walks/cards_world.h"
#include "sim/walks/ring_world.h"
#include "sim/walks/two_hop.h"
#include "sim/walks/walk.h"

namespace transload {
namespace {

struct WalkFamily {
  const char *world, *name, *about;
  bool quick;
  std::function<std::unique_ptr<TinyWorld>()> tiny = nullptr;  // null: two_hop is walked
  TwoHopPlan two_hop = {};
};

RingPlan ring(bool rail, uint32_t slots, uint32_t publish_every, std::vector<RingPlan::RingCall> calls) {
  RingPlan plan;
  plan.rail = rail;
  plan.slots = slots;
  plan.publish_every = publish_every;
  plan.calls = std::move(calls);
  return plan;
}

TwoHopPlan hops(uint32_t departures, bool combine, uint32_t publish_every) {
  TwoHopPlan plan;
  plan.departures = departures;
  plan.combine = combine;
  plan.publish_every = publish_every;
  return plan;
}

using Families = std::vector<WalkFamily>;

Families ring_families() {
  const auto of = [](const RingPlan& plan) { return [=] { return ring_world(plan); }; };
  const std::vector<RingPlan::RingCall> one{{4, 16}}, two{{3, 16}, {3, 32}};
  return {
      {.world = "ring",
       .name = "peers",
       .about = "2 slots between peers, 4 messages, a mark and a credit for each",
       .quick = true,
       .tiny = of(ring(false, 2, 1, one))},
      {.world = "ring",
       .name = "rail",
       .about = "the same along a rail, staged and put",
       .quick = true,
       .tiny = of(ring(true, 2, 1, one))},
      {.world = "ring",
       .name = "peers_held",
       .about = "between peers, marks held back until the warp waits",
       .quick = true,
       .tiny = of(ring(false, 2, 8, one))},
      {.world = "ring",
       .name = "rail_held",
       .about = "along a rail, marks held back until the warp waits",
       .quick = true,
       .tiny = of(ring(true, 2, 8, one))},
      {.world = "wrap",
       .name = "peers",
       .about = "2 slots between peers, two calls of 3 tokens: 16 bytes, then 32",
       .quick = true,
       .tiny = of(ring(false, 2, 1, two))},
      {.world = "wrap",
       .name = "rail",
       .about = "the same along a rail",
       .quick = true,
       .tiny = of(ring(true, 2, 1, two))},
  };
}

Families cards_families() {
  const auto of = [](const CardsPlan& plan) { return [=] { return cards_world(plan); }; };
  return {
      {.world = "cards",
       .name = "barrier_rails",
       .about = "2 nodes of 1: cards open a call, done words close it",
       .quick = true,
       .tiny = of({.node_sizes = {1, 1}, .calls = 1, .warps = false, .stores = false, .faults = false})},
      {.world = "cards",
       .name = "barrier_peers",
       .about = "2 peers: cards and grants open a call, done words close it",
       .quick = true,
       .tiny = of({.node_sizes = {2}, .calls = 1, .warps = false, .stores = false, .faults = false})},
      {.world = "cards",
       .name = "warps_rails",
       .about = "2 nodes of 1, of each an opener, a mover and a closer: their arrivals speak for all",
       .quick = false,
       .tiny = of({.node_sizes = {1, 1}, .calls = 1, .warps = true, .stores = false, .faults = false})},
      {.world = "cards",
       .name = "abort_rails",
       .about = "2 nodes of 1, a row stored, the group faulted at any point",
       .quick = false,
       .tiny = of({.node_sizes = {1, 1}, .calls = 1, .warps = false, .stores = true, .faults = true})},
      {.world = "cards",
       .name = "abort_peers",
       .about = "2 peers, the group faulted at any point",
       .quick = false,
       .tiny = of({.node_sizes = {2}, .calls = 1, .warps = false, .stores = false, .faults = true})},
      {.world = "cards",
       .name = "epochs_rails",
       .about = "2 nodes of 1, a row stored, two calls, leases change hands between them",
       .quick = false,
       .tiny = of({.node_sizes = {1, 1}, .calls = 2, .warps = false, .stores = true, .faults = false})},
      {.world = "cards",
       .name = "epochs_peers",
       .about = "2 peers, a row stored, two calls, leases change hands between them",
       .quick = false,
       .tiny = of({.node_sizes = {2}, .calls = 2, .warps = false, .stores = true, .faults = false})},
  };
}

Families hop_families() {
  return {
      {.world = "two_hop",
       .name = "both",
       .about = "1 + 2 ranks, one token through whole groups: dispatch and combine",
       .quick = true,
       .two_hop = hops(1, true, 1)},
      {.world = "two_hop",
       .name = "held",
       .about = "the same, marks held back until the warp waits",
       .quick = true,
       .two_hop = hops(1, true, 8)},
      {.world = "two_hop",
       .name = "dispatch",
       .about = "marks at once, dispatch alone",
       .quick = false,
       .two_hop = hops(2, false, 1)},
  };
}

Families families() {
  Families all;
  for (const Families& some : {ring_families(), cards_families(), hop_families()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

FamilyWalked walk_tiny(const WalkFamily& family, const ExhaustiveLimits& limits) {
  const std::unique_ptr<TinyWorld> world = family.tiny();
  WalkLimits walk_limits;
  walk_limits.seconds = limits.seconds;
  Walked w = walk(*world, walk_limits);
  FamilyWalked out;
  out.bound = "all";
  out.complete = w.complete;
  out.schedules = w.schedules;
  out.worlds = w.ended;
  out.states = w.states;
  out.merged = w.merged;
  out.put_off = w.put_off;
  out.early = w.early;
  out.beyond = w.beyond;
  out.actions = w.actions;
  out.deepest = w.deepest;
  out.seconds = w.seconds;
  if (w.violation.checker != Checker::kNone)
    out.violation = std::string(kCheckerNames[size_t(w.violation.checker)]) + ": " + w.violation.what;
  out.story = std::move(w.story);
  return out;
}

FamilyWalked walk_hops(const WalkFamily& family, const ExhaustiveLimits& limits) {
  TwoHopPlan plan = family.two_hop;
  plan.seconds = limits.seconds;
  plan.canary = limits.canary;
  const TwoHopWalked w = walk_two_hop(plan);
  FamilyWalked out;
  out.bound = "at most k = " + std::to_string(plan.departures) + " departures";
  out.complete = w.complete;
  out.worlds = w.worlds;
  out.schedules = double(w.worlds);
  out.actions = w.actions;
  out.deepest = w.deepest;
  out.seconds = w.seconds;
  out.violation = w.violation;
  return out;
}

std::string text_of(const FamilyWalked& p) {
  using N = unsigned long long;
  char counts[300], left[200];
  std::snprintf(counts, sizeof counts,
                ": %llu worlds to their ends, %.3g schedules, %llu states, %llu actions, deepest %llu, %.1f s\n",
                N(p.worlds), p.schedules, N(p.states), N(p.actions), N(p.deepest), p.seconds);
  std::snprintf(left, sizeof left, "  left out: %llu merged, %llu put off, %llu early\n", N(p.merged), N(p.put_off),
                N(p.early));
  std::string text = p.name + ": " + p.about + "\n";
  text += "  " + (p.complete ? p.bound : "not finished (of " + p.bound + ")") + counts;
  if (p.states > 0) text += left;
  if (p.violation.empty()) return text;
  text += "  BROKEN " + p.violation + "\n";
  for (const std::string& action : p.story) text += "    " + action + "\n";
  return text;
}

}  // namespace

bool ExhaustiveReport::passed() const {
  return std::all_of(families.begin(), families.end(), [](const auto& p) { return p.complete && p.violation.empty(); });
}

const std::vector<ExhaustiveWorld>& exhaustive_worlds() {
  static const std::vector<ExhaustiveWorld> all{
      {"ring", "A ring of 2 slots between two ranks: peers and a rail, every schedule."},
      {"wrap", "The same ring over two calls with tokens of another size, every schedule."},
      {"cards", "How a call opens, closes, and ends when a fault is heard of at any point, every schedule."},
      {"two_hop",
       "One token through whole groups of 1 + 2 ranks: schedules that depart a few times from the usual one."},
  };
  return all;
}

ExhaustiveReport walk_world(const std::string& world, const ExhaustiveLimits& limits) {
  const Planting planting(limits.canary);
  ExhaustiveReport report;
  report.world = world;
  for (const WalkFamily& family : families()) {
    if (family.world != world || (limits.quick && !family.quick)) continue;
    report.families.push_back(family.tiny ? walk_tiny(family, limits) : walk_hops(family, limits));
    report.families.back().name = family.name;
    report.families.back().about = family.about;
    if (limits.canary != Canary::kNone && !report.families.back().violation.empty()) break;  // the canary is found
  }
  if (report.families.empty()) {
    std::string names;
    for (const ExhaustiveWorld& known : exhaustive_worlds()) names += std::string(" ") + known.name;
    throw Error(Code::kInvalidArgument, "there is no world '" + world + "' to walk: there are" + names);
  }
  return report;
}

std::string to_text(const ExhaustiveReport& report) {
  std::string text = "exhaustive " + report.world + "\n";
  for (const FamilyWalked& family : report.families) text += text_of(family);
  if (report.world == "two_hop")
    return text +
           "Usually a warp runs until it waits, and flights land when no warp can run; a departure is any other\n"
           "choice. All worlds with at most k departures were run; nothing else was left out of them.\n";
  return text +
         "merged: the state was walked before, so what follows is known. put off: one warp's next step came first, "
         "since\n"
         "it commutes with all that others can do (or its bytes only begin to move, and whoever meets them breaks a "
         "rule\n"
         "in either order). early: bytes land at the last moment, which can only break more rules. See "
         "docs/walks.md.\n";
}

}  // namespace transload
