// While a WithSoftNics exists, ranks of this process put through a soft NIC each where rails would be mapped. Ranks on
// CPUs do as ranks on GPUs would: a call ends once the NIC has all its entries, and credits free sources. Ranks on GPUs
// have NICs only in a program with tests/soft_nic/on_gpus.cc.
#pragma once
#include <unistd.h>

#include <memory>
#include <string>

#include "runtime/network/scale_out_kinds.h"
#include "tests/support/side.h"
#include "tests/support/soft_nic_link.h"

namespace transload::test {

class WithSoftNics {
 public:
  // Is called before there are groups. `settings`, as soft_nic_settings() reads them, are for all of them.
  explicit WithSoftNics(const std::string& settings) : kind_(loopback()), make_(kind_.make), given_(soft_nics_given()) {
    soft_nics_given() = soft_nic_settings(settings);
    kind_.make = make;
  }
  ~WithSoftNics() {
    kind_.make = make_;
    soft_nics_given() = given_;
  }
  WithSoftNics(const WithSoftNics&) = delete;
  WithSoftNics& operator=(const WithSoftNics&) = delete;

  // True where ranks are on GPUs and this program has NICs for them, in all its groups.
  static bool drive_gpus() { return on_gpus() && loopback().open_queues != nullptr; }
  // Why ranks of this program have no NICs; null: they have.
  static const char* not_here() {
    return on_gpus() && !drive_gpus() ? "NICs of ranks on GPUs are in gpu/soft_nic_calls" : nullptr;
  }

 private:
  static ScaleOutKind& loopback() {
    for (ScaleOutKind& kind : scale_out_kinds())
      if (kind.choice == ScaleOutChoice::kLoopback) return kind;
    std::abort();
  }
  static std::unique_ptr<ScaleOut> make(GroupMaking& group, const NetworkPlace& place) {
    const RankState& state = group.state();
    SoftNic::Setup setup{.rank = state.map.me,
                         .regions = *place.mapped,
                         .region_bytes = place.bytes,
                         .processes = {},
                         .queues = 1 + state.geometry.channels,
                         .settings = soft_nics_given()};
    setup.regions[state.map.me] = place.region;
    for (const std::string& process : group.control->gather(std::to_string(getpid())))
      setup.processes.push_back(pid_t(std::stol(process)));
    return std::make_unique<SoftNicLink>(std::move(setup), true);
  }

  ScaleOutKind& kind_;
  decltype(ScaleOutKind::make) const make_;
  const SoftNicSettings given_;
};

}  // namespace transload::test
