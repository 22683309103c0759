// Who runs the warps of a rank's calls, and judges how they ended: the host's threads and links, or a simulator's
// world.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "transload/group.h"

namespace transload {

constexpr uint32_t kWarpsOfRoleMax = 8;  // with more channels than warps, warps claim channels in turn

template <class W>
class Crew {
 public:
  using Task = std::function<void(W&)>;

  virtual ~Crew() = default;
  // Runs one warp for each task, and returns when all have ended. False: the group is faulted.
  virtual bool run(const std::vector<Task>& tasks) = 0;
  // How many warps play each role of a call, where there are channels enough.
  virtual uint32_t warps_of_role() const { return kWarpsOfRoleMax; }
  // Waits until every put of mine is locally complete. False: the group is faulted, or the network is late.
  virtual bool finish_network() = 0;
  // Called where the call itself, and no warp, reads shared memory between two runs.
  virtual void reads(const void*, size_t) {}
  // Sets the deadline of every wait from now on.
  virtual void set_deadline(uint32_t ms) = 0;
  // Notes where the call stands from now on.
  virtual void note(uint64_t epoch, Phase phase, uint64_t rows_total) = 0;
  // After run() or finish_network() said false: finds the verdict and ends in HostCalls::poison.
  [[noreturn]] virtual void fail(const char* operation) = 0;
  // Leaves the call for a reason of this rank's own. All others are told, and it ends as fail() does.
  [[noreturn]] virtual void give_up(const char* operation, const std::string& reason) = 0;
};

}  // namespace transload
