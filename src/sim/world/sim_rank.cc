// Making a rank of a world, running its warps, and ending them.
#include "sim/world/sim_rank.h"

#include <algorithm>
#include <tuple>

#include "runtime/host/combine_call.h"
#include "runtime/host/dispatch_call.h"
#include "sim/checkers/reuse.h"

namespace transload {
namespace {
constexpr uint64_t kGiveUpNs = 5'000'000'000;  // time from an expired wait to giving up, if no verdict comes
}

SimRank::SimRank(const RankSetting& world, const GroupOptions& options, ModelMemory::AgentRank me)
    : memory(world.shared,
             [&] {
               me.on_woke = [this](bool met) { woke(met); };
               return std::move(me);
             }()),
      core(options, *this),
      world_(world),
      deadline_ms_(options.deadline_ms) {}

void SimRank::place(const std::vector<char*>& regions, uint64_t region_bytes, uint64_t slab_offset) {
  Mappings place;
  const uint64_t net = core.network_bytes(), up = core.scale_up_bytes();
  place.network = regions[core.map.me];
  for (uint32_t p = 0; p < core.map.peers; ++p)
    place.scale_up.push_back({regions[core.map.peer_rank(p)] + net, region_bytes - net});
  for (uint32_t r = 0; r < core.map.ranks; ++r) place.mapped.push_back(memory.rail_base(r));
  place.arena = std::make_shared<Arena>(place.network + net + up + slab_offset, core.options.slab_bytes, nullptr);
  core.reserve();
  core.place(std::move(place));
}

void SimRank::place_commands(char* at, const CommandPlace& place) {
  core.dispatch_rail.drained_at = reinterpret_cast<Word*>(at + place.drained());
  core.combine_rail.drained_at = core.dispatch_rail.drained_at + core.dispatch_rail.drained.size();
  CommandRail& rail = memory.rail();
  rail.room.slots = place.slots;
  rail.slots = reinterpret_cast<CommandSlot*>(at + place.queue());
  rail.taken = reinterpret_cast<Word*>(at + place.taken());
  rail.asked.resize(place.slots);
  rail.proxy = world_.shared.flights->add_agent({memory.region(), core.map.me, kProxyWarp, memory.me().group});
}

void SimRank::count_from(Word first) {
  if (memory.me().rails == RailMode::kQueues) core.free_by_credits();
  if (first == 0) return;
  for (RingPositions* positions : {&core.dispatch_up, &core.dispatch_rail, &core.combine_up, &core.combine_rail})
    for (std::vector<Word>* words : {&positions->sent, &positions->taken, &positions->drained})
      for (Word& word : *words) word = std::max(word, first);
  if (memory.me().rails == RailMode::kProxy) std::fill_n(core.dispatch_rail.drained_at, drained_words(), first);
  const Board& b = core.board;
  auto fill = [&](char* base, const Block& block, uint64_t members) {
    for (uint64_t i = 0; i < core.geometry.channels * members; ++i)
      *reinterpret_cast<Word*>(base + block.offset + i * block.unit) = first;
  };
  char* const up = b.peer[b.map.peer];
  const uint64_t dispatch = b.map.peers * b.up.dispatch.streams, combine = b.map.peers * b.up.combine.streams;
  fill(up, b.up.dispatch.tail, dispatch);
  fill(up, b.up.dispatch.credit, dispatch);
  fill(up, b.up.combine.tail, combine);
  fill(up, b.up.combine.credit, combine);
  fill(b.network, b.net.dispatch.tail, b.map.sources());
  fill(b.network, b.net.dispatch.credit, b.map.nodes);
  fill(b.network, b.net.combine.tail, b.map.nodes);
  fill(b.network, b.net.combine.credit, b.map.sources());
}

DispatchOutputs SimRank::dispatch(const DispatchInputs& in) {
  operation = "dispatch";
  return core.dispatch(in);
}

CombineOutputs SimRank::combine(const CombineInputs& in) {
  operation = "combine";
  return core.combine(in);
}

ExpertRoom SimRank::room(size_t bytes, bool leased) {
  ExpertRoom out;
  if (leased) {
    out.lease = core.lease(bytes);
    out.at = static_cast<char*>(out.lease.data());
  } else {
    out.own = Private(bytes);
    out.at = out.own.data();
  }
  return out;
}

void SimRank::loads(const void* at, size_t bytes) {
  world_.shared.flights->host_load(static_cast<const char*>(at), bytes);
}

void SimRank::stores(void* at, size_t bytes) { world_.shared.flights->host_store(static_cast<char*>(at), bytes); }

std::string SimRank::at_rest(const void* at, size_t bytes, const char* what) const {
  return check_at_rest(*world_.shared.flights, at, bytes, what);
}

bool SimRank::run(const std::vector<Task>& tasks) {
  last_wait_ = {};
  accused_ = -1;
  suspected_ = false;
  memory.begin_run(int(tasks.size()));
  if (proxy) proxy->begin_calls();
  host_ = world_.seeded->running();
  left_ = uint32_t(tasks.size());
  for (int i = 0; i < int(tasks.size()); ++i) {
    const Task& task = tasks[size_t(i)];
    world_.seeded->start({memory.me().process, memory.region()}, [this, i, &task](int, NearMemory near) {
      ModelWarp warp(memory, i, near);
      task(warp);
      warp.settle();
      if (--left_ == 0 && host_waits_ == HostWaits::kTasks) world_.seeded->wake(host_);
    });
  }
  host_waits_ = HostWaits::kTasks;
  while (left_ > 0) world_.seeded->block();
  host_waits_ = HostWaits::kNot;
  if (proxy) proxy->end_calls();
  return !memory.failed() && settled();
}

// Waits, as a host does, for the answer to a suspicion: the verdict may have come just when the wait ended.
bool SimRank::settled() {
  if (!suspected_) return true;
  host_waits_ = HostWaits::kVerdict;
  while (world_.control->suspecting(core.map.me) && !memory.failed()) world_.seeded->block();
  host_waits_ = HostWaits::kNot;
  return !memory.failed();
}

bool SimRank::finish_network() {
  if (memory.me().rails != RailMode::kNetwork) return !memory.failed();  // cards, credits and drained words say all
  host_ = world_.seeded->running();
  suspected_ = false;
  network_since_ = now();
  while (!network_done(!suspected_)) {
    if (memory.failed()) return false;
    const uint32_t whom = network_wait().whom;
    suspected_ = world_.control->suspect(
        core.map.me, {.rank = core.map.me, .epoch = core.epoch, .whom = whom, .seen = 0, .expected = 0},
        network_since_);
    if (!suspected_) network_since_ = now();
  }
  if (suspected_) world_.control->withdraw(core.map.me);
  return settled();
}

// Waits until no source of a put is in use. False: that took longer than the deadline, if it has one, or the group has
// a fault.
bool SimRank::network_done(bool has_deadline) {
  timed_out_ = false;
  const uint64_t wait = ++waits_;
  if (has_deadline && world_.shared.flights->uncaptured_puts(memory.region()) > 0)
    world_.timeline->in(deadline_ns(), [this, wait] {
      if (wait != waits_ || host_waits_ != HostWaits::kNetwork) return;
      timed_out_ = true;
      world_.seeded->wake(host_);
    });
  host_waits_ = HostWaits::kNetwork;
  while (!memory.failed() && !timed_out_ && world_.shared.flights->uncaptured_puts(memory.region()) > 0)
    world_.seeded->block();
  host_waits_ = HostWaits::kNot;
  return !memory.failed() && !timed_out_;
}

void SimRank::put_captured() {
  if (host_waits_ == HostWaits::kNetwork && world_.shared.flights->uncaptured_puts(memory.region()) == 0)
    world_.seeded->wake(host_);
}

void SimRank::reads(const void* at, size_t bytes) {
  if (!memory.gone()) world_.shared.flights->host_load(static_cast<const char*>(at), bytes);
}

void SimRank::note(uint64_t epoch, Phase phase, uint64_t rows_total) {
  memory.begin_phase();
  rows_total_ = rows_total;
  world_.control->note(
      core.map.me,
      {.rank = core.map.me, .epoch = epoch, .phase = uint32_t(phase), .waiting = false, .waiting_for = kNobody});
}

void SimRank::give_up(const char* what, const std::string& reason) {
  world_.control->failed(core.map.me, reason);
  fail(what);
}

// Waits for the verdict as a host does, but not for ever.
void SimRank::fail(const char* what) {
  if (!memory.gone()) {
    const uint64_t wait = ++waits_;
    timed_out_ = false;
    host_ = world_.seeded->running();
    const auto judged = [this] { return world_.control->verdict(core.map.me).kind != FaultKind::kNone; };
    if (!judged())
      world_.timeline->in(kAnswerNs + kMillisecondNs * 200, [this, wait] {
        if (wait != waits_ || host_waits_ != HostWaits::kVerdict) return;
        timed_out_ = true;
        world_.seeded->wake(host_);
      });
    host_waits_ = HostWaits::kVerdict;
    while (!judged() && !timed_out_ && !memory.gone()) world_.seeded->block();
    host_waits_ = HostWaits::kNot;
    if (!judged()) world_.control->give_up(core.map.me);
  }
  Verdict verdict = world_.control->verdict(core.map.me);
  if (memory.gone()) verdict = {FaultKind::kLost, core.map.me, "", true};  // the rank is dead, so nobody hears this
  core.poison(fault_of(verdict, {core.map.me, what, now() - call_since, core.phase != Phase::kIdle}, last_wait_));
}

void SimRank::heard_verdict() {
  if (!last_wait_.present) last_wait_ = telling_wait();
  memory.fail();
  world_.seeded->fail(memory.region());
  if (host_waits_ == HostWaits::kNetwork || host_waits_ == HostWaits::kVerdict) world_.seeded->wake(host_);
}

void SimRank::heard_answer() {
  if (host_waits_ == HostWaits::kVerdict) world_.seeded->wake(host_);
}

void SimRank::compute(uint64_t ns) {
  const uint64_t wait = ++waits_;
  host_ = world_.seeded->running();
  world_.timeline->in(ns, [this, wait] {
    if (wait != waits_ || host_waits_ != HostWaits::kCompute) return;
    host_waits_ = HostWaits::kNot;
    world_.seeded->wake(host_);
  });
  host_waits_ = HostWaits::kCompute;
  while (host_waits_ == HostWaits::kCompute && !memory.gone()) world_.seeded->block();
  host_waits_ = HostWaits::kNot;
}

void SimRank::vanish() {
  memory.vanish();
  if (proxy) proxy->vanish();
  world_.seeded->fail(memory.region());
  if (host_waits_ != HostWaits::kNot && host_waits_ != HostWaits::kTasks) world_.seeded->wake(host_);
}

// Returns the wait of this rank that explains most, by the same order as on a host.
WaitRecord SimRank::telling_wait() const {
  if (host_waits_ == HostWaits::kNetwork) return network_wait();
  if (host_waits_ == HostWaits::kVerdict) return last_wait_;
  WaitRecord best;
  std::tuple<int, bool, uint64_t> best_order;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& fiber) {
    const WaitRecord record = wait_record(*fiber.park, double(now() - fiber.since) / double(kMillisecondNs));
    const bool late = expired(fiber);
    const auto order = wait_order(record, core.map.me, late, late ? fiber.armed : fiber.since);
    if (best.present && order >= best_order) return;
    best = record;
    best_order = order;
  });
  return best;
}

WaitRecord SimRank::network_wait() const {
  WaitRecord record;
  const uint32_t region = world_.shared.flights->busy_with(memory.region());
  record.present = region != kNobody;
  record.whom = record.present ? region - memory.me().first_region : kNobody;
  record.role = Role::kCloser;
  record.what = Waiting::kDrained;
  record.waited_ms = double(now() - network_since_) / double(kMillisecondNs);
  return record;
}

uint64_t SimRank::next_expiry() const {
  uint64_t next = accused_ >= 0 ? accused_at_ + kGiveUpNs + 1 : Timeline::kNever;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& fiber) {
    // An expired wait needs no look while a suspicion is open, or where it is for a warp of its own rank.
    if (!expired(fiber) || (accused_ < 0 && !for_own_warps(wait_record(*fiber.park, 0), core.map.me)))
      next = std::min(next, fiber.armed + deadline_of(fiber));
  });
  return next;
}

void SimRank::look_at_waits() {
  if (const BrokenRecord* broken = memory.take_broken())
    world_.control->mismatch(core.map.me, broken->rank, text_of(*broken, core.map.me), of_one_rank(*broken));
  const WaitRecord telling = telling_wait();
  world_.control->note(core.map.me, {.rank = core.map.me,
                                     .epoch = core.epoch,
                                     .phase = uint32_t(core.phase),
                                     .waiting = telling.present,
                                     .waiting_for = telling.present ? telling.whom : kNobody});
  if (accused_ < 0) return accuse();
  if (now() - accused_at_ > kGiveUpNs) heard_verdict();
}

// Suspects, as Scheduler::accuse does, the expired wait that says most.
void SimRank::accuse() {
  int best = -1;
  std::tuple<int, bool, uint64_t> best_order;
  world_.seeded->each_parked_of(memory.region(), [&](int i, Seeded::Fiber& fiber) {
    const WaitRecord record = wait_record(*fiber.park, 0);
    if (!expired(fiber) || for_own_warps(record, core.map.me)) return;
    const auto order = wait_order(record, core.map.me, true, fiber.armed);
    if (best >= 0 && order >= best_order) return;
    best = i;
    best_order = order;
  });
  if (best < 0) return;
  const Seeded::Fiber& fiber = world_.seeded->fiber(best);
  const WaitRecord record = wait_record(*fiber.park, 0);
  const uint64_t since = fiber.armed;
  accused_ = best;
  accused_at_ = now();
  const uint64_t overdue = now() - since - deadline_of(fiber);
  if (world_.control->suspect(core.map.me,
                              {.rank = core.map.me,
                               .epoch = core.epoch,
                               .whom = record.whom,
                               .seen = record.seen,
                               .expected = record.expected,
                               .waited = 0,
                               .overdue = overdue},
                              since)) {
    suspected_ = true;
    return check_own_stop(record, since);
  }
  accused_ = -1;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& waits) { waits.armed = now(); });
}

void SimRank::check_own_stop(const WaitRecord& record, uint64_t since) {
  const uint64_t stood = world_.stood_still(memory.me().process, since);
  if (stood < 2 * kSilenceNs || 2 * stood < now() - since) return;
  const std::string what = "accuses rank " + std::to_string(record.whom) + ", though it stood still itself";
  world_.broken({.checker = Checker::kLiveness, .what = what, .word = 0, .rank = core.map.me, .warp = -1, .event = 0});
}

void SimRank::woke(bool met) {
  if (world_.seeded->running() != accused_) return;
  accused_ = -1;
  if (met) world_.control->withdraw(core.map.me);
}

template DispatchOutputs HostCalls<ModelWarp>::dispatch(const DispatchInputs& in);
template CombineOutputs HostCalls<ModelWarp>::combine(const CombineInputs& in);

}  // namespace transload
