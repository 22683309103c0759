// `transload sim --time`: computes, in virtual time, how long a call takes on a cluster with given links and
// processors.
#pragma once
#include <string>

namespace CLI {
class App;
}

namespace transload::cli {

// The options as they were typed; "" for one that was not.
struct SimTimeArguments {
  bool time = false;
  std::string nodes, gpus, sms, wire, latency_us, message_ns, command_ns, sm_gb_s, scale_up_gb_s;
  std::string channels, slots, batch, tokens, hidden, top_k, experts, dtype;
};

void add_sim_time_options(CLI::App& app, SimTimeArguments& arguments);

// To be called where --time was not typed: refuses options that need --time. Throws UsageError.
void refuse_without_time(const SimTimeArguments& arguments);

// Throws UsageError. Returns the exit status.
int simulate_time(const SimTimeArguments& arguments, const std::string& rails, const std::string& seed);

}  // namespace transload::cli
