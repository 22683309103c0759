// Setting up a tiny world, and the actions that are enabled in it.
#include "sim/walks/tiny_world.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace transload {
namespace {

constexpr size_t kNearBytes = 8192, kPage = 4096;
constexpr uint32_t kNeedsMax = 16;

Manners tame(uint32_t publish_every) {
  Manners m;
  m.lazy = m.split = m.torn = m.capture = m.switches = 0;
  m.publish_every = publish_every;
  return m;
}

// The most members that an end of a ring of any kind may have.
size_t members_most(const RankMap& map) {
  return std::max<size_t>(map.peers * std::max<size_t>(kDispatchStreams, map.sources()), map.sources());
}

}  // namespace

TinyWorld::TinyWorld(TinyWorldPlan plan)
    : plan_(std::move(plan)), table_(plan_.node_sizes), space_(1, kPage), manners_(tame(plan_.publish_every)) {
  const uint32_t count = table_.seen_by(0).ranks;
  size_t most = 0;
  for (uint32_t r = 0; r < count; ++r) {
    ranks_.push_back(std::make_unique<Rank>());
    lay(*ranks_[r], r);
    used_bytes_.push_back(region_bytes(*ranks_[r]));
    most = std::max(most, used_bytes_.back());
  }
  space_.reset(count, round_up(most, kPage), 0);
  size_t words = plan_.private_words;
  for (const auto& rank : ranks_) {
    words += 3 * members_most(rank->board.map);
  }
  private_.resize(words);
  for (uint32_t r = 0; r < count; ++r) {
    link(*ranks_[r]);
    ranks_[r]->positions = positions_of(r);
  }
}

TinyWorld::~TinyWorld() { stop(); }

void TinyWorld::lay(Rank& rank, uint32_t number) {
  Board& b = rank.board;
  b.map = table_.seen_by(number);
  b.geometry = {.ranks = b.map.ranks,
                .nodes = b.map.nodes,
                .fold = b.map.fold,
                .node_size_max = table_.node_size_max(),
                .peers = b.map.peers,
                .channels = 1,
                .slots = plan_.slots,
                .experts_of_rank_max = 1,
                .token_bytes = plan_.row_bytes,
                .sum_bytes = plan_.row_bytes};
  b.up = ScaleUpRegion::plan(b.geometry, sizeof(Card), sizeof(Grant) + sizeof(Word) * b.map.sources());
  b.net = NetworkRegion::plan(b.geometry, sizeof(Card));
}

void TinyWorld::link(Rank& rank) {
  Board& b = rank.board;
  for (uint32_t p = 0; p < b.map.peers; ++p)
    rank.peer.push_back(space_.region(b.map.peer_rank(p)) + ranks_[b.map.peer_rank(p)]->board.net.bytes);
  rank.mapped.assign(b.map.ranks, nullptr);
  rank.ends = rail_ends_of(b.map);
  b.peer = rank.peer.data();
  b.network = space_.region(b.map.me);
  b.mapped = rank.mapped.data();
  b.rails = rank.ends.rails.data();
  b.sources = rank.ends.sources.data();
  b.always = &always_;
}

Word* TinyWorld::take_private(size_t words) {
  TRANSLOAD_CHECK(taken_ + words <= private_.size());
  taken_ += words;
  return private_.data() + taken_ - words;
}

// One set suffices, because a world uses one kind of ring.
Positions TinyWorld::positions_of(uint32_t rank) {
  const size_t members = members_most(ranks_[rank]->board.map);
  return {take_private(members), take_private(members), take_private(members)};
}

PeerLink TinyWorld::peers(uint32_t rank) {
  const Rank& r = *ranks_[rank];
  return {&r.board, &r.board.up.dispatch, &r.positions};
}

RailLink TinyWorld::toward_nodes(uint32_t rank) {
  const Rank& r = *ranks_[rank];
  return {.board = &r.board,
          .rings = &r.board.net.dispatch,
          .positions = &r.positions,
          .others = r.board.rails,
          .count = r.board.map.nodes};
}

RailLink TinyWorld::from_sources(uint32_t rank) {
  const Rank& r = *ranks_[rank];
  return {.board = &r.board,
          .rings = &r.board.net.dispatch,
          .positions = &r.positions,
          .others = r.board.sources,
          .count = r.board.map.sources()};
}

void TinyWorld::reset() {
  stop();
  over_ = false;
  violation_ = {};
  last_run_ = -1;
  journal_.clear();
  space_.reset(ranks(), space_.stride(), ranks() * space_.stride());
  std::fill(private_.begin(), private_.end(), 0);
  is_word_.assign(ranks() * space_.stride() / kCellBytes, false);
  flights_.reset({.wire = this, .watcher = this, .now = &now_, .manners = manners_, .whole = true}, chance_);
  seeded_.reset({int(ranks()) * plan_.warps * 2, kNearBytes, kNeedsMax}, &now_);
  warp_of_fiber_.assign(ranks() * size_t(plan_.warps) * 2, {});
  for (uint32_t r = 0; r < ranks(); ++r) {
    Rank& rank = *ranks_[r];
    ModelMemory::AgentRank me;
    me.rank = r;
    me.ranks = ranks();
    me.group = 0;
    me.process = r;
    me.first_region = 0;
    me.mapped = rank.mapped;
    rank.memory.emplace(ModelShared{.space = &space_,
                                    .flights = &flights_,
                                    .journal = &journal_,
                                    .chance = &chance_,
                                    .parker = &seeded_,
                                    .manners = &manners_,
                                    .now = &now_},
                        std::move(me), plan_.warps, is_word_);
    rank.call = 0;
    rank.heard = rank.ended = false;
  }
  for (uint32_t r = 0; r < ranks(); ++r) begin_call(r);
}

void TinyWorld::begin_call(uint32_t r) {
  Rank& rank = *ranks_[r];
  std::vector<Task> tasks = call(r, rank.call);
  if (tasks.empty() || rank.heard) {
    rank.ended = true;
    return;
  }
  rank.tasks = std::move(tasks);
  rank.left = int(rank.tasks.size());
  rank.memory->inner().begin_run(rank.left);
  for (int w = 0; w < rank.left; ++w) {
    const int fiber = seeded_.start({r, r}, [this, r, w](int, NearMemory near) {
      Rank& mine = *ranks_[r];
      const Task task = mine.tasks[size_t(w)];  // copied, since the last warp to end replaces mine.tasks
      WalkWarp warp(*mine.memory, w, near);
      task(warp);
      end_warp(r, warp, w);
    });
    rank.memory->starts(w);
    warp_of_fiber_[size_t(fiber)] = {r, w};
  }
}

void TinyWorld::end_warp(uint32_t r, WalkWarp& warp, int number) {
  Rank& rank = *ranks_[r];
  warp.settle();
  if (--rank.left > 0 || over_) return rank.memory->ends(number);
  // The call returns and the next one begins in one step, before which others have their turn: flights may land.
  rank.memory->turn(number, Primitive::kCall);
  if (over_) return;
  if (!rank.heard) check(r, rank.call);
  ++rank.call;
  rank.memory->ends(number);
  begin_call(r);
}

void TinyWorld::stop() {
  over_ = true;
  while (seeded_.live() > 0) {
    for (uint32_t r = 0; r < ranks(); ++r) {
      ranks_[r]->memory->inner().vanish();
      seeded_.fail(r);
    }
    TRANSLOAD_CHECK(seeded_.ready() > 0);
    while (seeded_.ready() > 0) seeded_.run(0);
  }
}

bool TinyWorld::any_heard() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& r) { return r->heard; });
}

void TinyWorld::actions(std::vector<Action>& list) {
  list.clear();
  if (violation_.checker != Checker::kNone) return;
  for (uint32_t i = 0; i < seeded_.ready(); ++i) list.push_back({Action::Deed::kRun, uint32_t(seeded_.ready_fiber(i))});
  for (uint32_t i = 0; i < flights_.landable(); ++i) {
    const uint32_t id = flights_.landable_flight(i);
    const Flight& f = flights_.flight(id);
    if (!Flights::landed_whole(f)) list.push_back({Action::Deed::kLand, id});
    if (f.kind == Flight::Type::kPut && !f.complete) list.push_back({Action::Deed::kFree, id});
  }
  const bool all_ended = std::all_of(ranks_.begin(), ranks_.end(), [](const auto& r) { return r->ended; });
  if (all_ended) return;
  if (list.empty() && !any_heard()) {
    uint32_t who = 0;
    while (ranks_[who]->ended) ++who;
    say(who, Checker::kLiveness, "nothing can happen any more, and warps wait");
    return;
  }
  if (!plan_.faults) return;
  for (uint32_t r = 0; r < ranks(); ++r)
    if (!ranks_[r]->heard && !ranks_[r]->ended) list.push_back({Action::Deed::kHear, r});
}

void TinyWorld::act(const Action& action) {
  if (action.kind == Action::Deed::kHear) {
    ranks_[action.which]->heard = true;
    ranks_[action.which]->memory->inner().fail();
    seeded_.fail(action.which);
    return;
  }
  if (action.kind == Action::Deed::kFree) return flights_.free_put(action.which);
  if (action.kind == Action::Deed::kRun) {
    last_run_ = int(action.which);
    for (uint32_t i = 0; i < seeded_.ready(); ++i)
      if (seeded_.ready_fiber(i) == last_run_) return seeded_.run(i);
  } else {
    for (uint32_t i = 0; i < flights_.landable(); ++i)
      if (flights_.landable_flight(i) == action.which) return flights_.land(i);
  }
  TRANSLOAD_CHECK(!"an action that is not enabled");
}

uint64_t TinyWorld::running() const {
  for (uint32_t i = 0; i < seeded_.ready(); ++i)
    if (seeded_.ready_fiber(i) == last_run_) {
      const WarpState& at = warp_of_fiber_[size_t(last_run_)];
      return at.rank * uint64_t(plan_.warps) + uint64_t(at.warp) + 1;
    }
  return 0;
}

bool TinyWorld::preempts(const Action& action) const {
  return action.kind == Action::Deed::kRun && int(action.which) != last_run_ && running() != 0;
}

bool TinyWorld::is_private(const Action& action) const {
  if (action.kind != Action::Deed::kRun) return false;
  const WarpState& at = warp_of_fiber_[action.which];
  const Rank& rank = *ranks_[at.rank];
  if (plan_.faults && !rank.heard) return false;  // a fault may be heard of before this step or after
  const Primitive next = rank.memory->next(at.warp);
  if (next == Primitive::kStart || next == Primitive::kCount || next == Primitive::kParked) return true;
  if (next == Primitive::kMove || next == Primitive::kSum || next == Primitive::kPut) return true;
  if (next == Primitive::kFence) return true;
  if (next != Primitive::kDrain && next != Primitive::kSettle) return false;
  const std::vector<uint32_t>& pending = flights_.pending(agent_of(at.rank, at.warp));
  return std::all_of(pending.begin(), pending.end(), [&](uint32_t id) { return flights_.flight(id).far; });
}

bool TinyWorld::is_early(const Action& action) const {
  if (action.kind != Action::Deed::kLand && action.kind != Action::Deed::kFree) return false;
  const Flight& f = flights_.flight(action.which);
  return action.kind == Action::Deed::kLand ? f.kind != Flight::Type::kMark : f.drained == nullptr;
}

void TinyWorld::broken(Violation violation) {
  if (violation_.checker != Checker::kNone || over_) return;
  violation_ = std::move(violation);
}

Print TinyWorld::print() {
  Print p;
  for (uint32_t r = 0; r < ranks(); ++r) {
    const Rank& rank = *ranks_[r];
    p.mix(uint64_t(rank.call) << 32 | uint64_t(rank.left) << 8 | uint64_t(rank.heard) << 2 |
          uint64_t(rank.memory->inner().failed()) << 1 | uint64_t(rank.ended));
    for (int w = 0; w < plan_.warps; ++w) {
      const Print warp = rank.memory->print(w);
      p.mix(warp.a);
      p.mix(warp.b);
    }
  }
  uint64_t ready = 0;
  for (uint32_t i = 0; i < seeded_.ready(); ++i) {
    const WarpState& at = warp_of_fiber_[size_t(seeded_.ready_fiber(i))];
    ready |= uint64_t(1) << (at.rank * uint32_t(plan_.warps) + uint32_t(at.warp));
  }
  p.mix(ready);
  state_.mix(p, used_bytes_, is_word_);
  for (size_t i = 0; i < private_.size(); ++i)
    if (private_[i] != 0) p.mix(i), p.mix(private_[i]);
  return p;
}

std::string TinyWorld::text(const Action& action) const {
  if (action.kind == Action::Deed::kHear) return "rank " + std::to_string(action.which) + " hears of the fault";
  if (action.kind == Action::Deed::kLand) return flights_.text(action.which) + " lands";
  if (action.kind == Action::Deed::kFree) return "the source of " + flights_.text(action.which) + " is free";
  const WarpState& at = warp_of_fiber_[action.which];
  return "rank " + std::to_string(at.rank) + ", warp " + std::to_string(at.warp) + " proceeds";
}

}  // namespace transload
