// What the calls of a group share, how they fail, and how a group is left.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "protocol/marks.h"
#include "runtime/group_impl.h"
#include "transport/scaleup/shm/neighbours.h"

namespace transload {

namespace {

const char* name_of(Role role) {
  constexpr const char* names[] = {"notify", "sender", "forwarder", "receiver", "closer"};
  return names[int(role)];
}
const char* name_of(Waiting what) {
  constexpr const char* names[] = {"card",    "grant",     "counts", "tokens", "credit", "reading by the network",
                                   "leaving", "first word"};
  return names[int(what)];
}
}  // namespace

void Group::Impl::refuse_if_faulted() {
  if (faulted) throw Error(fault);
  if (control->abort_word().load(std::memory_order_acquire) != 0) fail("idle");
  call_since = now_ns();
}

uint32_t Group::Impl::warps_of(uint32_t channels) const { return std::min(channels, kWarpsOfRoleMax); }

uint64_t Group::Impl::cards_shown() const {
  uint64_t sum = map.peers;
  bool stages = false;  // once for all that are not mapped
  for (const auto* list : {&rails, &sources})
    for (const Counterpart& c : *list) {
      if (c.rank == kNobody) continue;
      sum += !board.staged(c.rank);
      stages = stages || board.staged(c.rank);
    }
  return sum + stages;
}

void Group::Impl::begin_call(Call& call, Phase at, uint64_t rows_total) {
  card.epoch = ++epoch;
  call.board = &board;
  call.card = card;
  call.card_bytes = &card;
  call.grants = grants.data();
  call.grant_bytes = sizeof(Grant) + 8 * map.sources();
  call.arrivals = &arrivals;
  call.tickets = tickets;
  set_phase(at, rows_total);
}

void Group::Impl::set_phase(Phase at, uint64_t rows_total) {
  arrivals = 0;
  std::fill(std::begin(tickets), std::end(tickets), 0);
  phase = at;
  control->note(epoch, at, false, kNobody);
  if (!options.progress) return;
  options.progress->rows.store(0, std::memory_order_relaxed);
  options.progress->rows_total.store(rows_total, std::memory_order_relaxed);
  options.progress->epoch.store(epoch, std::memory_order_relaxed);
  options.progress->phase.store(uint32_t(at), std::memory_order_release);
}

void Group::Impl::write_grants(const Call& call, const GrantOffer& offer, const std::vector<uint64_t>& row_base) {
  auto offset = [&](const char* at) { return offer.direct && at ? Word(at - board.mine()) : 0; };
  for (uint32_t p = 0; p < map.peers; ++p) {
    auto* grant = reinterpret_cast<Grant*>(grants.data() + p * call.grant_bytes);
    *grant = {call.epoch(), call.card.handle, offer.direct, offset(offer.rows), offset(offer.tails)};
    const RankMap theirs = ranks->seen_by(map.mate(p));
    for (uint32_t s = 0; s < map.sources(); ++s) {
      const uint32_t source = theirs.source_rank(s);
      grant->row_base()[s] = source == kNobody ? 0 : row_base[source];
    }
  }
}

void Group::Impl::run(std::vector<Task>& tasks, const char* operation, bool last) {
  scheduler->run(tasks);
  if (memory->failed()) fail(operation);
  if (!last) return;
  if (!scheduler->finish_network(options.deadline_ms)) fail(operation);
  set_phase(Phase::kIdle, 0);
}

void Group::Impl::fail(const char* operation) {
  if (phase == Phase::kNotify) reached(Situation::kAbortInNotify);
  if (phase == Phase::kDispatch) reached(Situation::kAbortInDispatch);
  if (phase == Phase::kCombine) reached(Situation::kAbortInCombine);
  const WaitRecord& wait = scheduler->last_wait();
  Verdict verdict = control->verdict();
  if (verdict.kind == FaultKind::kNone)
    verdict = {FaultKind::kUnreachable, wait.present ? wait.whom : map.me, "no verdict came"};
  fault = control->fault(verdict, operation, call_since);
  if (wait.present && phase != Phase::kIdle) {
    fault.role = name_of(wait.role);
    fault.channel = wait.channel;
    fault.waiting_for = std::string(name_of(wait.what)) + " of rank " + std::to_string(wait.whom);
    fault.seen = wait.seen;
    fault.expected = wait.expected;
  }
  LostPeer peer;
  while (scale_out && scale_out->lost(peer))
    fault.detail += "; the network lost rank " + std::to_string(peer.rank) + ": " + peer.reason;
  arena->close();
  faulted = true;
  throw Error(fault);
}

void Group::Impl::decide(const std::string& what, const std::string& choice, const std::string& why) {
  for (Decision& d : decisions)
    if (d.what == what) {
      d = {what, choice, why};
      return;
    }
  decisions.push_back({what, choice, why});
}

Lease Group::Impl::lease(size_t bytes) {
  auto block = arena->take(bytes);
  return Lease(block ? block : private_block(bytes));
}

// Until what I put to rails has been taken, or the deadline: the network needs my hand until then.
void Group::Impl::linger() {
  const uint64_t until = now_ns() + uint64_t(options.deadline_ms) * 1000000;
  auto credited = [&](const RailRings& rings, const RingPositions& positions, const std::vector<Counterpart>& others) {
    for (uint64_t c = 0; c < geometry.channels; ++c)
      for (uint64_t m = 0; m < others.size(); ++m) {
        Word* const word = const_cast<Word*>(board.my_net_word(rings.credit.at(c, m)));
        if (others[m].rank == kNobody || control->said_goodbye(others[m].rank)) continue;
        if (std::atomic_ref<Word>(*word).load(std::memory_order_acquire) < positions.sent[c * others.size() + m])
          return false;
      }
    return true;
  };
  while (now_ns() < until && control->abort_word().load(std::memory_order_acquire) == 0) {
    if (credited(board.net.dispatch, *dispatch_rail, rails) && credited(board.net.combine, *combine_rail, sources))
      return;
    if (!scale_out->progress()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Group::Impl::~Impl() {
  if (control) control->on_verdict(nullptr);
  if (scheduler && scale_out && !faulted) linger();
  if (control) control->goodbye();
}

Group::Group(const GroupOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Group::~Group() = default;
uint32_t Group::rank() const { return impl_->map.me; }
const GroupOptions& Group::options() const { return impl_->options; }
DispatchOutputs Group::dispatch(const DispatchInputs& inputs) { return impl_->dispatch(inputs); }
CombineOutputs Group::combine(const CombineInputs& inputs) { return impl_->combine(inputs); }
Lease Group::lease(size_t bytes) { return impl_->lease(bytes); }
std::vector<Decision> Group::decisions() const { return impl_->decisions; }
std::vector<std::string> Group::gather(const std::string& mine) {
  impl_->refuse_if_faulted();
  return impl_->control->gather(mine, "gather");
}

std::vector<uint32_t> Group::local_experts() const {
  std::vector<uint32_t> mine;
  for (uint32_t e = 0; e < impl_->experts.experts; ++e)
    if (impl_->experts.owner[e] == impl_->map.me) mine.push_back(e);
  return mine;
}

MemoryReport Group::memory() const {
  const Impl& g = *impl_;
  const uint64_t rings = g.board.up.ring_bytes + g.board.net.ring_bytes;
  return {rings, g.board.up.bytes + g.board.net.bytes - rings, g.options.slab_bytes, g.arena->used(), kRingFormula};
}

std::string Group::scale_up_name() const { return impl_->map.peers > 1 ? "shm" : "none"; }
std::string Group::scale_out_name() const { return impl_->scale_out ? impl_->scale_out->name() : "none"; }

}  // namespace transload
