// A group's calls on the host: who runs them, how they fail, and how a group is left.
#include <chrono>
#include <thread>

#include "base/time_units.h"
#include "control/fault.h"
#include "os/clock.h"
#include "runtime/host/host_group.h"
#include "runtime/network/heap_place.h"
#include "transport/scaleup/neighbours.h"

namespace transload {

void HostGroup::refuse_if_faulted() {
  core.refuse_if_poisoned();
  if (control->abort_word().load(std::memory_order_acquire) != 0) fail("idle");
  call_since = now_ns();
}

bool HostGroup::run(const std::vector<Task>& tasks) {
  const Hand::Hold mine(hand.get());
  suspected = false;
  scheduler->run(tasks);
  return !host_memory->failed() && settled();
}

bool HostGroup::finish_network() {
  const Hand::Hold mine(hand.get());
  suspected = false;
  return scheduler->finish_network(host_memory->options().deadline_ms) && settled();
}

// A wait that was suspected may have ended just when it was judged: then this call has not succeeded.
bool HostGroup::settled() { return !suspected || control->settled().kind == FaultKind::kNone; }

void HostGroup::note(uint64_t epoch, Phase phase, uint64_t rows_total) {
  control->note(epoch, phase, false, kNobody);
  if (!options.progress) return;
  options.progress->rows.store(0, std::memory_order_relaxed);
  options.progress->rows_total.store(rows_total, std::memory_order_relaxed);
  options.progress->epoch.store(epoch, std::memory_order_relaxed);
  options.progress->phase.store(uint32_t(phase), std::memory_order_release);
}

void HostGroup::fail(const char* operation) {
  const Hand::Hold mine(hand.get());
  const Verdict verdict = control->verdict();
  const Reporter reporter{map.me, operation, now_ns() - call_since, core.phase != Phase::kIdle || core.epoch == 0};
  Fault fault = fault_of(verdict, reporter, scheduler->last_wait());
  const bool far =
      fault.kind == FaultKind::kUnreachable && fault.culprit_rank < map.ranks && !map.is_peer(fault.culprit_rank);
  if (far && scale_out) fault.detail += "; the link to it is " + scale_out->name();
  for (LostPeer peer; scale_out && scale_out->lost(peer);) fault.detail += text_of(peer);
  core.poison(fault);
}

void HostGroup::give_up(const char* operation, const std::string& reason) {
  control->failed(reason);
  fail(operation);
}

// Waits, at most the deadline, until rails have taken all that I put, and I have confirmed what they sent, because the
// network moves only by my hand. Returns whether they have.
bool HostGroup::linger() {
  const uint64_t until = now_ns() + uint64_t(options.deadline_ms) * kMillisecondNs;
  while (now_ns() < until && control->abort_word().load(std::memory_order_acquire) == 0) {
    if (all_credited(core.board.net.dispatch, core.rails, core.dispatch_rail.sent.data()) &&
        all_credited(core.board.net.combine, core.sources, core.combine_rail.sent.data()) &&
        (!scale_out->needs_a_hand() || scale_out->may_sleep()))
      return true;
    if (control->interrupted()) return false;
    if (!scale_out->progress()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

HostGroup::~HostGroup() {
  hand.reset();
  try {
    const bool all_taken = scheduler && scale_out && !core.fault && linger();
    if (heap && all_taken) heap->all_taken();
    if (heap && core.fault) heap->lose(lost_by(*core.fault));
  } catch (const std::exception&) {  // ranks that wait for this rank have a deadline
  }
  if (control) control->goodbye();
}

// Who has said goodbye, or has returned from my last call, needs nothing of mine any more.
bool HostGroup::has_taken_all(uint32_t rank) const {
  return control->said_goodbye(rank) || LastCall::is_past(core.common_id, rank, core.epoch);
}

// Notes that a call has returned. A call that throws something other than a fault counts too: it has moved either all
// that others wait for, or nothing.
struct HostGroup::Calling {
  HostGroup& group;
  ~Calling() {
    if (!group.core.fault) group.last_call->returned_from(group.core.epoch);
  }
};
DispatchOutputs HostGroup::dispatch(const DispatchInputs& inputs) {
  const Calling calling{*this};
  return core.dispatch(inputs);
}
CombineOutputs HostGroup::combine(const CombineInputs& inputs) {
  const Calling calling{*this};
  return core.combine(inputs);
}
DispatchReport HostGroup::report(const Handle& handle, const Stream&) {
  check_handle(core, handle);
  return handle->report;
}

MemoryReport HostGroup::memory() const {
  const uint64_t rings = core.board.up.ring_bytes + core.board.net.ring_bytes;
  return {.ring_bytes = rings,
          .counter_bytes = core.board.up.bytes + core.board.net.bytes - rings,
          .slab_bytes = options.slab_bytes,
          .leased_bytes = core.arena->used(),
          .ring_formula = ring_formula(core.board.geometry),
          .private_bytes = core.private_bytes()};
}

std::string HostGroup::scale_up_name() const { return map.peers > 1 ? "shm" : "none"; }
std::string HostGroup::scale_out_name() const { return scale_out ? scale_out->name() : "none"; }

}  // namespace transload
