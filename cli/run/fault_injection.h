// --fault: the victim halts with some, but not all, rows of a phase moved, and is killed or stopped; or it does not
// make a dispatch that all others make.
#pragma once
#include <cstdint>
#include <thread>

#include "cli/options.h"
#include "cli/run/status_page.h"
#include "cli/run/workload.h"

namespace transload::cli {

// Rows that a rank surely moves in a phase of a call, whatever landing and source are chosen.
int64_t rows_in_phase(const Options& options, const Workload& workload, uint32_t rank, FaultPhase phase);

// Throws UsageError if the victim would have fewer than 2 rows in that phase.
void check_victim(const Options& options, const Workload& workload);

// Thrown in a victim that leaves.
struct LeavesGroup {};

// Arms a worker's halt when its time has come. Does nothing on ranks that are not the victim.
class FaultInjector {
 public:
  FaultInjector(const Options& options, const Workload& workload, uint32_t rank, StatusPage& page);

  // Whether the victim never comes to this combine. That call itself must find out.
  bool lost_before_combine(uint64_t iteration) const {
    return fault_ && iteration == fault_->iteration && fault_->phase == FaultPhase::kExpert;
  }
  // `iteration` as in --fault: from 1, warm-up not included. Throws LeavesGroup.
  void before_dispatch(uint64_t iteration);
  void before_combine(uint64_t iteration);
  // The expert calls this after each of its rows.
  void after_expert_row(uint64_t iteration, int64_t rows_done);

 private:
  void arm(Phase phase);
  bool mine(uint64_t iteration) const { return victim_ && iteration == fault_->iteration; }

  const std::optional<FaultSpec> fault_;
  const bool victim_;
  const uint32_t deadline_ms_;
  int64_t halt_rows_ = 0;
  StatusPage& page_;
};

bool halted(const StatusPage& page);

// A victim that no launcher of ours watches does with this to itself what the launcher would do.
class SelfInjector {
 public:
  SelfInjector(const FaultSpec& fault, const StatusPage& page);
  ~SelfInjector();

 private:
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace transload::cli
