// A token over two hops, as a tiny world that can be walked.
#include "sim/walks/two_hop.h"

#include <algorithm>
#include <vector>

#include "os/clock.h"
#include "sim/world/world.h"

namespace transload {
namespace {

Scenario two_hop_scenario(bool combine) {
  std::string text = R"toml(
name = "two_hop"
about = "One token over two hops: along the rail, then to a peer of it."
node_sizes = [1, 2]
experts = 3
top_k = 1
expert_owner = [2, 2, 2]
hidden_bytes = 16
tokens = [1, 0, 0]
channels = 1
slots = 1
ordered = false

[link.scale_up]
latency_ns = 0

[link.scale_out]
latency_ns = 0

[[call]]
op = "dispatch"
landing = "ring"
)toml";
  if (combine) text += "\n[[call]]\nop = \"combine\"\nsource = \"push\"\n";
  return parse_scenario(text, "two_hop.toml");
}

struct Departure {
  uint64_t at;      // number of the choice
  uint32_t option;  // index among the choice's options, without the usual one
};

// Makes the usual choice (the warp that ran last if it can run, else another one, else the flight that came first),
// departs from it where `departures` says so, and notes how many options there were.
class Departing final : public Chooser {
 public:
  explicit Departing(const std::vector<Departure>& departures) : departures_(departures) {}

  uint32_t choose(uint32_t ready, uint32_t landable) override {
    const uint32_t all = ready + landable, usual = ready > 0 ? ready - 1 : 0;
    options.push_back(all - 1);
    const uint64_t at = options.size() - 1;
    if (next_ == departures_.size() || departures_[next_].at != at) return usual;
    const uint32_t option = departures_[next_++].option;
    return option < usual ? option : option + 1;
  }

  std::vector<uint32_t> options;  // options of each choice, besides the usual one

 private:
  const std::vector<Departure>& departures_;
  size_t next_ = 0;
};

class TwoHop {
 public:
  explicit TwoHop(const TwoHopPlan& plan) : plan_(plan), scenario_(two_hop_scenario(plan.combine)) {}

  TwoHopWalked run() {
    walked_.complete = depart(0);
    walked_.seconds = seconds_since(begin_);
    return walked_;
  }

 private:
  // Runs all worlds with the departures so far and, from choice `first` on, as many more as the bound allows.
  bool depart(uint64_t first) {
    if (!walked_.violation.empty() || seconds_since(begin_) > plan_.seconds) return false;
    Departing chooser(departures_);
    WorldOptions options;
    options.chooser = &chooser;
    options.canary = plan_.canary;
    options.publish_every = plan_.publish_every;
    options.events_kept = 64;
    const WorldResult result = world_.run(scenario_, options);
    ++walked_.worlds;
    walked_.actions += result.steps;
    walked_.deepest = std::max(walked_.deepest, result.steps);
    walked_.choices = std::max<uint64_t>(walked_.choices, chooser.options.size());
    if (!result.passed()) {
      walked_.violation = std::string(kCheckerNames[size_t(result.violation.checker)]) + ": " + result.violation.what;
      return false;
    }
    if (departures_.size() == plan_.departures) return true;
    for (uint64_t at = first; at < chooser.options.size(); ++at)
      for (uint32_t option = 0; option < chooser.options[at]; ++option) {
        departures_.push_back({at, option});
        const bool goes_on = depart(at + 1);
        departures_.pop_back();
        if (!goes_on) return false;
      }
    return true;
  }

  const TwoHopPlan plan_;
  const Scenario scenario_;
  const uint64_t begin_ = now_ns();
  World world_;
  TwoHopWalked walked_;
  std::vector<Departure> departures_;
};

}  // namespace

TwoHopWalked walk_two_hop(const TwoHopPlan& plan) { return TwoHop(plan).run(); }

}  // namespace transload
