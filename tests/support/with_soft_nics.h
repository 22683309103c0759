// While one of these is there, groups of this process that would map their rails put along them through a soft NIC a
// rank, as ranks on GPUs would through a card: a call ends once all is with the card, and credits free sources.
#pragma once
#include <unistd.h>

#include <memory>
#include <string>

#include "runtime/scale_out_kinds.h"
#include "tests/support/soft_nic_link.h"

namespace transload::test {

class WithSoftNics {
 public:
  // Before there are groups. `settings` are for all of them: soft_nic_settings().
  explicit WithSoftNics(const std::string& settings) : kind_(loopback()), make_(kind_.make) {
    given() = soft_nic_settings(settings);
    kind_.make = make;
  }
  ~WithSoftNics() { kind_.make = make_; }
  WithSoftNics(const WithSoftNics&) = delete;
  WithSoftNics& operator=(const WithSoftNics&) = delete;

 private:
  static ScaleOutKind& loopback() {
    for (ScaleOutKind& kind : scale_out_kinds())
      if (kind.choice == ScaleOutChoice::kLoopback) return kind;
    std::abort();
  }
  static SoftNicSettings& given() {
    static SoftNicSettings settings;
    return settings;
  }
  static std::unique_ptr<ScaleOut> make(Group::Impl& group, const NetworkPlace& place) {
    const RankState& state = group.state();
    SoftNic::Setup setup{.rank = state.map.me,
                         .regions = *place.mapped,
                         .region_bytes = place.bytes,
                         .processes = {},
                         .queues = 1 + state.geometry.channels,
                         .settings = given()};
    setup.regions[state.map.me] = place.region;
    for (const std::string& process : group.control->gather(std::to_string(getpid())))
      setup.processes.push_back(pid_t(std::stol(process)));
    return std::make_unique<SoftNicLink>(std::move(setup), true);
  }

  ScaleOutKind& kind_;
  decltype(ScaleOutKind::make) const make_;
};

}  // namespace transload::test
