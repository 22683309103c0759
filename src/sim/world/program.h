// What one rank of a group does, simulated or not: the calls of its scenario, one after another, each result checked.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/mix.h"
#include "sim/checkers/results.h"
#include "sim/model/violation.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/workload.h"
#include "sim/world/caller.h"

namespace transload {

// Sees the outputs of every call while they are valid; `call` counts them from 0, repeats too.
class Audience {
 public:
  virtual ~Audience() = default;
  virtual void dispatched(uint32_t rank, uint32_t call, const DispatchOutputs& out) = 0;
  virtual void combined(uint32_t rank, uint32_t call, const CombineOutputs& out) = 0;
};

// What a rank does when a call is to be made.
enum class CallerTurn : uint8_t { kCalls, kCallsOther, kLeaves };

class Program {
 public:
  struct Setup {
    const Scenario* scenario;
    Routings* routings;
    uint64_t seed;  // seed of the group, alike on all ranks
    std::function<void(Checker, std::string)> broken;
    std::function<bool()> over;                 // true: the world has ended, so no more calls are made
    std::function<CallerTurn(uint32_t)> began;  // asked before each call, with its number, repeats counted
    Audience* audience = nullptr;               // optional
  };
  Program(Caller& caller, Setup setup) : caller_(caller), s_(std::move(setup)) {}

  // Makes all calls; needs a fiber or thread of its own. Throws Error{kFault} if the group ends with a fault.
  void run();

 private:
  void dispatch(const ScenarioCall& call, uint64_t salt);
  void combine(const ScenarioCall& call, uint64_t salt);
  Tensor make_scales(const ScenarioCall& call, uint64_t salt);
  std::string refusal_of(const ScenarioCall& call) const;
  void refused_dispatch(const ScenarioCall& call);
  bool must_fail(uint32_t rank);
  bool nobody_has_handle();
  void check(const DispatchResult& result);
  void keep(const ScenarioCall& call, Lease lease);
  uint32_t channels_of(const ScenarioCall& call) const;
  void say(Checker checker, const std::string& wrong);
  uint32_t me() const { return caller_.rank(); }
  uint64_t drawn(uint64_t salt, uint64_t what) const { return mixed(s_.seed, salt, what, 5); }
  const reference::Received& received() { return s_.routings->received(dispatched_, *dispatch_call_, me()); }

  Caller& caller_;
  const Setup s_;
  uint32_t calls_done_ = 0, dispatches_ = 0;
  CallerTurn turn_ = CallerTurn::kCalls;
  uint32_t dispatched_ = 0;  // number of the dispatch that made the handle
  const ScenarioCall* dispatch_call_ = nullptr;
  Handle handle_;
  std::vector<uint32_t> scales_;  // scales of the latest dispatch
  std::deque<Lease> held_;
};

}  // namespace transload
