// See seat.h.
#include "sim/seat.h"

#include <algorithm>
#include <tuple>

#include "runtime/combine_call.h"
#include "runtime/dispatch_call.h"
#include "sim/checkers/reuse.h"

namespace transload {
namespace {
constexpr uint64_t kGiveUpNs = 5'000'000'000;  // after an expired wait, if no verdict comes
}

SimSeat::SimSeat(const SeatWorld& world, const GroupOptions& options, ModelMemory::Seat seat)
    : memory(world.shared, std::move(seat)), core(options, *this), world_(world) {}

void SimSeat::place(const std::vector<char*>& regions, uint64_t region_bytes, uint64_t slab_offset) {
  Place place;
  const uint64_t net = core.network_bytes(), up = core.scale_up_bytes();
  place.network = regions[core.map.me];
  for (uint32_t p = 0; p < core.map.peers; ++p)
    place.scale_up.push_back({regions[core.map.mate(p)] + net, region_bytes - net});
  for (uint32_t r = 0; r < core.map.ranks; ++r) place.mapped.push_back(memory.rail_base(r));
  place.arena = std::make_shared<Arena>(place.network + net + up + slab_offset, core.options.slab_bytes, nullptr);
  core.place(std::move(place));
}

void SimSeat::count_from(Word first) {
  if (first == 0) return;
  for (RingPositions* positions : {&core.dispatch_up, &core.dispatch_rail, &core.combine_up, &core.combine_rail})
    for (std::vector<Word>* words : {&positions->sent, &positions->taken, &positions->drained})
      std::fill(words->begin(), words->end(), first);
  const Board& b = core.board;
  auto fill = [&](char* base, const Block& block, uint64_t members) {
    for (uint64_t i = 0; i < core.geometry.channels * members; ++i)
      *reinterpret_cast<Word*>(base + block.offset + i * block.unit) = first;
  };
  char* const up = b.peer[b.map.peer];
  const uint64_t dispatch = b.map.peers * b.up.dispatch.lanes, combine = b.map.peers * b.up.combine.lanes;
  fill(up, b.up.dispatch.tail, dispatch);
  fill(up, b.up.dispatch.credit, dispatch);
  fill(up, b.up.combine.tail, combine);
  fill(up, b.up.combine.credit, combine);
  fill(b.network, b.net.dispatch.tail, b.map.sources());
  fill(b.network, b.net.dispatch.credit, b.map.nodes);
  fill(b.network, b.net.combine.tail, b.map.nodes);
  fill(b.network, b.net.combine.credit, b.map.sources());
}

DispatchOutputs SimSeat::dispatch(const DispatchInputs& in) {
  operation = "dispatch";
  return core.dispatch(in);
}

CombineOutputs SimSeat::combine(const CombineInputs& in) {
  operation = "combine";
  return core.combine(in);
}

ExpertRoom SimSeat::room(size_t bytes, bool leased) {
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

void SimSeat::loads(const void* at, size_t bytes) {
  world_.shared.flights->host_load(static_cast<const char*>(at), bytes);
}

void SimSeat::stores(void* at, size_t bytes) { world_.shared.flights->host_store(static_cast<char*>(at), bytes); }

std::string SimSeat::at_rest(const void* at, size_t bytes, const char* what) const {
  return check_at_rest(*world_.shared.flights, at, bytes, what);
}

bool SimSeat::run(const std::vector<Task>& tasks) {
  last_wait_ = {};
  memory.begin_run(int(tasks.size()));
  host_ = world_.seeded->running();
  left_ = uint32_t(tasks.size());
  for (int i = 0; i < int(tasks.size()); ++i) {
    const Task& task = tasks[size_t(i)];
    world_.seeded->start({memory.seat().process, memory.region()}, [this, i, &task](int, NearMemory near) {
      ModelWarp warp(memory, i, near);
      task(warp);
      warp.settle();
      if (--left_ == 0 && host_waits_ == HostWaits::kTasks) world_.seeded->wake(host_);
    });
  }
  host_waits_ = HostWaits::kTasks;
  while (left_ > 0) world_.seeded->block();
  host_waits_ = HostWaits::kNot;
  return !memory.failed();
}

bool SimSeat::finish_network() {
  timed_out_ = false;
  const uint64_t wait = ++waits_;
  host_ = world_.seeded->running();
  if (world_.shared.flights->uncaptured_puts(memory.region()) > 0)
    world_.timeline->in(deadline_ns(), [this, wait] {
      if (wait != waits_ || host_waits_ != HostWaits::kNetwork) return;
      timed_out_ = true;
      world_.seeded->wake(host_);
    });
  host_waits_ = HostWaits::kNetwork;
  network_since_ = now();
  while (!memory.failed() && !timed_out_ && world_.shared.flights->uncaptured_puts(memory.region()) > 0)
    world_.seeded->block();
  if (timed_out_ && !memory.failed()) {
    last_wait_ = network_wait();
    world_.control->suspect(core.map.me, {core.map.me, core.epoch, last_wait_.whom, 0, 0}, network_since_);
  }
  host_waits_ = HostWaits::kNot;
  return !memory.failed() && !timed_out_;
}

void SimSeat::put_captured() {
  if (host_waits_ == HostWaits::kNetwork && world_.shared.flights->uncaptured_puts(memory.region()) == 0)
    world_.seeded->wake(host_);
}

void SimSeat::reads(const void* at, size_t bytes) {
  if (!memory.gone()) world_.shared.flights->host_load(static_cast<const char*>(at), bytes);
}

void SimSeat::note(uint64_t epoch, Phase phase, uint64_t rows_total) {
  memory.begin_phase();
  rows_total_ = rows_total;
  world_.control->note(core.map.me, {core.map.me, epoch, uint32_t(phase), false, kNobody});
}

// As the host's: the verdict is waited for, but not for ever.
void SimSeat::fail(const char* what) {
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
  }
  core.poison(fault_of(world_.control->verdict(core.map.me),
                       {core.map.me, what, now() - call_since, core.phase != Phase::kIdle}, last_wait_));
}

void SimSeat::heard_verdict() {
  if (!last_wait_.present) last_wait_ = telling_wait();
  memory.fail();
  world_.seeded->fail(memory.region());
  if (host_waits_ == HostWaits::kNetwork || host_waits_ == HostWaits::kVerdict) world_.seeded->wake(host_);
}

void SimSeat::compute(uint64_t ns) {
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

void SimSeat::vanish() {
  memory.vanish();
  world_.seeded->fail(memory.region());
  if (host_waits_ != HostWaits::kNot && host_waits_ != HostWaits::kTasks) world_.seeded->wake(host_);
}

// The wait that says most, as the host's.
WaitRecord SimSeat::telling_wait() const {
  if (host_waits_ == HostWaits::kNetwork) return network_wait();
  if (host_waits_ == HostWaits::kVerdict) return last_wait_;
  WaitRecord best;
  std::tuple<int, bool, uint64_t> best_order;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& fiber) {
    const WaitRecord record = wait_record(*fiber.park, double(now() - fiber.since) / double(kMillisecondNs));
    const auto order = wait_order(record, core.map.me, fiber.expired, fiber.expired ? fiber.expired_at : fiber.since);
    if (best.present && order >= best_order) return;
    best = record;
    best_order = order;
  });
  return best;
}

WaitRecord SimSeat::network_wait() const {
  WaitRecord record;
  const uint32_t region = world_.shared.flights->busy_with(memory.region());
  record.present = region != kNobody;
  record.whom = record.present ? region - memory.seat().first_region : kNobody;
  record.role = Role::kCloser;
  record.what = Waiting::kDrained;
  record.waited_ms = double(now() - network_since_) / double(kMillisecondNs);
  return record;
}

uint64_t SimSeat::next_expiry() const {
  uint64_t next = Timeline::kNever;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& fiber) {
    next = std::min(next, fiber.expired ? fiber.expired_at + kGiveUpNs : fiber.armed + deadline_ns());
  });
  return next;
}

void SimSeat::look_at_waits() {
  if (const BrokenRecord* broken = memory.take_broken())
    world_.control->mismatch(core.map.me, broken->rank, text_of(*broken, core.map.me));
  const WaitRecord telling = telling_wait();
  world_.control->note(core.map.me, {core.map.me, core.epoch, uint32_t(core.phase), telling.present,
                                     telling.present ? telling.whom : kNobody});
  bool gives_up = false;
  std::vector<Seeded::Fiber*> expired;
  world_.seeded->each_parked_of(memory.region(), [&](int, Seeded::Fiber& fiber) {
    if (fiber.expired) {
      gives_up |= now() - fiber.expired_at > kGiveUpNs;
    } else if (now() - fiber.armed >= deadline_ns()) {
      expired.push_back(&fiber);
    }
  });
  for (Seeded::Fiber* fiber : expired) {
    if (fiber->park == nullptr) continue;  // the verdict came meanwhile
    const WaitRecord record = wait_record(*fiber->park, 0);
    const bool mine = record.whom == core.map.me;  // another warp of mine is stuck: its own wait accuses
    if (!mine && !world_.control->suspect(
                     core.map.me, {core.map.me, core.epoch, record.whom, record.seen, record.expected}, fiber->armed)) {
      fiber->armed = now();
      continue;
    }
    const uint64_t stood = world_.stood_still(memory.seat().process, fiber->armed);
    if (!mine && stood >= 2 * kSilenceNs && 2 * stood >= now() - fiber->armed)
      world_.broken({Checker::kLiveness,
                     "accuses rank " + std::to_string(record.whom) + ", though it stood still itself", 0, core.map.me,
                     -1, 0});
    fiber->expired = true;
    fiber->expired_at = now();
  }
  if (gives_up) heard_verdict();
}

template DispatchOutputs GroupCore<ModelWarp>::dispatch(const DispatchInputs& in);
template CombineOutputs GroupCore<ModelWarp>::combine(const CombineInputs& in);

}  // namespace transload
