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
  core_.refuse_if_poisoned();
  if (control->abort_word().load(std::memory_order_acquire) != 0) fail("idle");
  call_since_ = now_ns();
}

bool HostGroup::run(const std::vector<Task>& tasks) {
  const Hand::Hold mine(hand_.get());
  suspected_ = false;
  scheduler_->run(tasks);
  return !host_memory_->failed() && settled();
}

bool HostGroup::finish_network() {
  const Hand::Hold mine(hand_.get());
  suspected_ = false;
  return scheduler_->finish_network(host_memory_->options().deadline_ms) && settled();
}

// A wait that was suspected may have ended just when it was judged: then this call has not succeeded.
bool HostGroup::settled() { return !suspected_ || control->settled().kind == FaultKind::kNone; }

void HostGroup::note(uint64_t epoch, Phase phase, uint64_t rows_total) {
  control->note(epoch, phase, false, kNobody);
  if (!options_.progress) return;
  options_.progress->rows.store(0, std::memory_order_relaxed);
  options_.progress->rows_total.store(rows_total, std::memory_order_relaxed);
  options_.progress->epoch.store(epoch, std::memory_order_relaxed);
  options_.progress->phase.store(uint32_t(phase), std::memory_order_release);
}

void HostGroup::fail(const char* operation) {
  const Hand::Hold mine(hand_.get());
  const Verdict verdict = control->verdict();
  const Reporter reporter{map_.me, operation, now_ns() - call_since_, core_.phase != Phase::kIdle || core_.epoch == 0};
  Fault fault = fault_of(verdict, reporter, scheduler_->last_wait());
  const bool far =
      fault.kind == FaultKind::kUnreachable && fault.culprit_rank < map_.ranks && !map_.is_peer(fault.culprit_rank);
  if (far && scale_out_) fault.detail += "; the link to it is " + scale_out_->name();
  for (LostPeer peer; scale_out_ && scale_out_->lost(peer);) fault.detail += text_of(peer);
  core_.poison(fault);
}

void HostGroup::give_up(const char* operation, const std::string& reason) {
  control->failed(reason);
  fail(operation);
}

// Waits, at most the deadline, until rails have taken all that I put, and I have confirmed what they sent, because the
// network moves only by my hand. Returns whether they have.
bool HostGroup::linger() {
  const uint64_t until = now_ns() + uint64_t(options_.deadline_ms) * kMillisecondNs;
  while (now_ns() < until && control->abort_word().load(std::memory_order_acquire) == 0) {
    if (all_credited(core_.board.net.dispatch, core_.rails, core_.dispatch_rail.sent.data()) &&
        all_credited(core_.board.net.combine, core_.sources, core_.combine_rail.sent.data()) &&
        (!scale_out_->needs_a_hand() || scale_out_->may_sleep()))
      return true;
    if (control->interrupted()) return false;
    if (!scale_out_->progress()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

HostGroup::~HostGroup() {
  hand_.reset();
  try {
    const bool all_taken = scheduler_ && scale_out_ && !core_.fault && linger();
    if (heap_ && all_taken) heap_->all_taken();
    if (heap_ && core_.fault) heap_->lose(lost_by(*core_.fault));
  } catch (const std::exception&) {  // ranks that wait for this rank have a deadline
  }
  if (control) control->goodbye();
}

// Who has said goodbye, or has returned from my last call, needs nothing of mine any more.
bool HostGroup::has_taken_all(uint32_t rank) const {
  return control->said_goodbye(rank) || LastCall::is_past(core_.common_id, rank, core_.epoch);
}

// Notes that a call has returned. A call that throws something other than a fault counts too: it has moved either all
// that others wait for, or nothing.
struct HostGroup::Calling {
  HostGroup& group;
  ~Calling() {
    if (!group.core_.fault) group.last_call_->returned_from(group.core_.epoch);
  }
};
DispatchOutputs HostGroup::dispatch(const DispatchInputs& inputs) {
  const Calling calling{*this};
  return core_.dispatch(inputs);
}
CombineOutputs HostGroup::combine(const CombineInputs& inputs) {
  const Calling calling{*this};
  return core_.combine(inputs);
}
DispatchReport HostGroup::report(const Handle& handle, const Stream&) {
  check_handle(core_, handle);
  return handle->report;
}

MemoryReport HostGroup::memory() const {
  MemoryReport report = core_.memory();
  report.private_bytes = core_.private_bytes();
  return report;
}

std::string HostGroup::scale_up_name() const { return map_.peers > 1 ? "shm" : "none"; }
std::string HostGroup::scale_out_name() const { return scale_out_ ? scale_out_->name() : "none"; }

}  // namespace transload
