// The faults of a world: ranks die, stand still or are slow; links and networks break.
#include <algorithm>
#include <numeric>

#include "base/time_units.h"
#include "sim/world/group_of.h"

namespace transload {

// Fixes which rank each fault hurts, and when: as the scenario says, or as the seed draws.
void World::arm_faults() {
  faults_.clear();
  uint32_t calls = 0;
  for (const ScenarioCall& call : scenario_->calls) calls += call.repeat;
  for (const ScenarioFault& f : scenario_->faults) {
    FaultState state;
    state.process = f.ranks.empty() ? chance_.below(ranks_) : f.ranks[0];
    if (f.kind == ScenarioFaultKind::kDeadLink) {
      const RankTable table(scenario_->node_sizes);
      const RankMap map = table.seen_by(state.process);
      const uint32_t node = map.nodes > 1 ? (map.node + 1 + chance_.below(map.nodes - 1)) % map.nodes : map.node;
      state.other = f.ranks.size() > 1 ? f.ranks[1] : map.rail_of(state.process, node);
    }
    state.call = f.when ? f.when->call : chance_.below(std::max(1u, calls));
    state.progress = f.when ? f.when->progress : double(chance_.below(1000)) / 1000;
    if (f.when && f.when->within_ms > 0) state.delay_ns = chance_.next() % (f.when->within_ms * kMillisecondNs);
    if (!f.when && chance_.below(2) == 0)
      state.delay_ns = chance_.next() % (std::max<uint64_t>(scenario_->compute_ms, 1) * kMillisecondNs);
    faults_.push_back(state);
  }
}

// Does those faults that a rank itself commits when it is about to make a call; do_fault() does the other kinds.
CallerTurn World::meet_fault(FaultState& state, const ScenarioFault& what, GroupOf& group, uint32_t rank) {
  using Kind = ScenarioFaultKind;
  if (state.done || (what.kind != Kind::kLateRank && what.kind != Kind::kLeavingRank && what.kind != Kind::kOtherCall))
    return CallerTurn::kCalls;
  begin_fault(state, what);
  if (what.kind == Kind::kOtherCall) return CallerTurn::kCallsOther;
  if (what.kind == Kind::kLeavingRank) {
    group.control->goodbye(rank);
    return CallerTurn::kLeaves;
  }
  const uint64_t deadline_ns = uint64_t(scenario_->deadline_ms) * kMillisecondNs;
  group.ranks[rank]->compute(deadline_ns + chance_.next() % (what.for_ms * kMillisecondNs + 1));
  return CallerTurn::kCalls;
}

void World::begin_fault(FaultState& state, const ScenarioFault& what) {
  state.done = true;
  state.since = timeline_->now();
  journal_->record({.what = Happened::kFault,
                    .group = 0,
                    .rank = uint16_t(state.process),
                    .warp = -1,
                    .time = timeline_->now(),
                    .a = uint64_t(what.kind),
                    .b = 0,
                    .c = state.other});
}

void World::do_fault(FaultState& state, const ScenarioFault& what) {
  begin_fault(state, what);
  switch (what.kind) {
    case ScenarioFaultKind::kDeadRank:
      return kill(state.process, what.notice);
    case ScenarioFaultKind::kStoppedRank: {
      Process& process = processes_[state.process];
      process.stopped = true;
      process.stopped_from = timeline_->now();
      process.for_good = what.for_ms == 0;
      seeded_->hold(state.process, true);
      for (const auto& group : groups_)
        if (const uint32_t rank = group->rank_of(state.process); rank != kNobody) {
          group->control->stop(rank);
          if (needs_progress_) flights_->freeze(group->first_region + rank, true);
        }
      if (what.for_ms > 0) timeline_->in(what.for_ms * kMillisecondNs, [this, p = state.process] { go_on(p); });
      return;
    }
    case ScenarioFaultKind::kSlowRank:
      processes_[state.process].times_slower = std::max(1u, what.times_slower);
      return;
    case ScenarioFaultKind::kDeadLink:
      links_->kill(state.process, state.other);
      return;
    case ScenarioFaultKind::kCutNetwork:
      return cut(what.ranks.empty() ? nodes_apart(state.process) : what.ranks);
    case ScenarioFaultKind::kDeadArbiter:
      for (const auto& group : groups_) group->control->end_launcher();
      return;
    case ScenarioFaultKind::kStoppedArbiter:
      for (const auto& group : groups_) group->control->stop_launcher();
      return;
    case ScenarioFaultKind::kStoppedProxy:
      for (const auto& group : groups_)
        if (const uint32_t rank = group->rank_of(state.process); rank != kNobody) group->ranks[rank]->proxy->stop();
      return;
    case ScenarioFaultKind::kFailingRank:
      for (const auto& group : groups_)
        if (const uint32_t rank = group->rank_of(state.process); rank != kNobody) {
          group->control->failed(rank, "out of memory");
          group->ranks[rank]->memory.fail();
        }
      return;
    case ScenarioFaultKind::kLateRank:
    case ScenarioFaultKind::kLeavingRank:
    case ScenarioFaultKind::kOtherCall:
    case ScenarioFaultKind::kCount:
      return;
  }
}

// All ranks of the node of a process.
std::vector<uint32_t> World::nodes_apart(uint32_t process) const {
  const RankTable table(scenario_->node_sizes);
  const RankMap map = table.seen_by(process);
  std::vector<uint32_t> side(map.peers);
  std::iota(side.begin(), side.end(), map.peer_rank(0));
  return side;
}

void World::cut(const std::vector<uint32_t>& side) {
  std::vector<bool> here(ranks_);
  for (const uint32_t p : side) here[p] = cut_off_[p] = true;
  for (uint32_t a = 0; a < ranks_; ++a)
    for (uint32_t b = a + 1; b < ranks_; ++b)
      if (here[a] != here[b]) links_->kill(a, b);
  for (const auto& group : groups_) {
    std::vector<uint32_t> ranks;
    for (const uint32_t p : side)
      if (const uint32_t rank = group->rank_of(p); rank != kNobody) ranks.push_back(rank);
    group->control->cut(ranks);
  }
}

void World::kill(uint32_t process, bool notice) {
  processes_[process].dead = true;
  for (const auto& group : groups_) {
    const uint32_t rank = group->rank_of(process);
    if (rank == kNobody) continue;
    flights_->lose(group->first_region + rank, chance_);
    group->ranks[rank]->vanish();
    group->control->die(rank, notice);
  }
}

uint64_t World::stood_still(uint32_t process, uint64_t since) const {
  const Process& p = processes_[process];
  const uint64_t from = std::max(p.stopped_from, since);
  return p.stopped_until > from ? p.stopped_until - from : 0;
}

void World::go_on(uint32_t process) {
  processes_[process].stopped = false;
  processes_[process].stopped_until = timeline_->now();
  seeded_->hold(process, false);
  for (const auto& group : groups_)
    if (const uint32_t rank = group->rank_of(process); rank != kNobody) {
      group->control->go_on(rank);
      group->ranks[rank]->look_at_waits();
      flights_->freeze(group->first_region + rank, false);
    }
}

}  // namespace transload
