// One rank of a world with time: its calls' state, and the crew that runs as many warps as a GPU would.
#pragma once
#include <string>
#include <vector>

#include "runtime/host/host_calls.h"
#include "sim/time/timed_memory.h"

namespace transload {

class TimedRank final : public Crew<TimedWarp> {
 public:
  TimedRank(const TimedShared& shared, const GroupOptions& options);

  // Tells the calls where the regions of all ranks lie.
  void place();

  // Crew.
  bool run(const std::vector<Task>& tasks) override;
  bool finish_network() override { return true; }  // a GPU's call does not wait for the network
  uint32_t warps_of_role() const override;
  void set_deadline(uint32_t) override {}
  void note(uint64_t epoch, Phase phase, uint64_t rows_total) override;
  [[noreturn]] void fail(const char* operation) override;
  [[noreturn]] void give_up(const char* operation, const std::string& reason) override;

  TimedMemory memory;
  HostCalls<TimedWarp> core;

 private:
  const TimedShared s_;
  int host_ = -1;  // the fiber that runs calls
  uint32_t left_ = 0;
};

}  // namespace transload
