// Arming, watching and doing the fault.
#include "cli/run/fault_injection.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "cli/show/usage.h"

namespace transload::cli {
namespace {

constexpr uint32_t kToldMs = 1500;  // all ranks hear of a fault within this time after a deadline

}  // namespace

int64_t rows_in_phase(const Options& options, const Workload& workload, uint32_t rank, FaultPhase phase) {
  const RunTraffic traffic = traffic_of(workload.problem());
  switch (phase) {
    case FaultPhase::kNotify:
      return options.ranks();  // a row of counts for each rank
    case FaultPhase::kDispatch:
      return traffic.sent[rank];
    case FaultPhase::kExpert:
      return traffic.received[rank];
    case FaultPhase::kCombine:
      break;
  }
  int64_t tokens = 0;  // a pull sums each token at its origin, a push sends each row
  for (int64_t t = 0; t < options.tokens[rank]; ++t) {
    const auto owners = reference::owners_by_node(workload.problem(), {rank, t});
    tokens += std::any_of(owners.begin(), owners.end(), [](const auto& list) { return !list.empty(); });
  }
  return tokens;
}

void check_victim(const Options& options, const Workload& workload) {
  if (!options.fault) return;
  const FaultSpec& fault = *options.fault;
  if (!by_signal(fault)) return;
  const int64_t rows = rows_in_phase(options, workload, fault.rank, fault.phase);
  if (rows < 2)
    refuse("--fault: rank {} has {} rows in {}: must be at least 2, to halt between them", fault.rank, rows,
           name_of(fault.phase));
}

FaultInjector::FaultInjector(const Options& options, const Workload& workload, uint32_t rank, StatusPage& page)
    : fault_(options.fault),
      victim_(fault_ && fault_->rank == rank),
      deadline_ms_(options.group.deadline_ms),
      page_(page) {
  if (!victim_ || !by_signal(*fault_)) return;
  halt_rows_ = std::max<int64_t>(1, rows_in_phase(options, workload, rank, fault_->phase) / 2);
  // Each call begins with a card for each peer, which Progress counts too.
  if (fault_->phase == FaultPhase::kDispatch || fault_->phase == FaultPhase::kCombine)
    halt_rows_ += options.node_sizes()[reference::node_of(workload.problem(), rank)];
}

void FaultInjector::arm(Phase phase) {
  Progress& progress = page_.progress;
  progress.pause_rows = uint64_t(halt_rows_);
  progress.pause_phase = uint32_t(phase);
  progress.pause_epoch = progress.epoch + 1;
}

void FaultInjector::before_dispatch(uint64_t iteration) {
  if (!mine(iteration)) return;
  if (fault_->verb == FaultVerb::kLeave) {
    page_.gone = 1;  // nobody need wait for this rank before a call
    throw LeavesGroup();
  }
  if (fault_->verb == FaultVerb::kAbsent)
    return std::this_thread::sleep_for(std::chrono::milliseconds(deadline_ms_ + kToldMs));
  if (fault_->phase == FaultPhase::kNotify) arm(Phase::kNotify);
  if (fault_->phase == FaultPhase::kDispatch) arm(Phase::kDispatch);
}

void FaultInjector::before_combine(uint64_t iteration) {
  if (mine(iteration) && by_signal(*fault_) && fault_->phase == FaultPhase::kCombine) arm(Phase::kCombine);
}

void FaultInjector::after_expert_row(uint64_t iteration, int64_t rows_done) {
  if (!mine(iteration) || fault_->phase != FaultPhase::kExpert || rows_done != halt_rows_) return;
  page_.halted_in_expert = 1;
  // A minute suffices for whoever does the fault. If nobody does it, the rank runs on.
  for (int naps = 0; naps < 6000; ++naps) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

bool halted(const StatusPage& page) { return page.progress.paused != 0 || page.halted_in_expert != 0; }

SelfInjector::SelfInjector(const FaultSpec& fault, const StatusPage& page) {
  const int signal = fault.verb == FaultVerb::kStop ? SIGSTOP : SIGKILL;
  thread_ = std::thread([this, signal, &page] {
    while (!end_) {
      if (halted(page)) kill(getpid(), signal);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}

SelfInjector::~SelfInjector() {
  end_ = true;
  thread_.join();
}

}  // namespace transload::cli
