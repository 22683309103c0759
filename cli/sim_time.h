// `transload sim --time`: what links and processors of a cluster make of a call's time, in virtual time.
#pragma once
#include <string>

namespace CLI {
class App;
}

namespace transload::cli {

// What was typed; an empty text: nothing was.
struct SimTimeArguments {
  bool time = false;
  std::string nodes, gpus, sms, wire, latency_us, message_ns, command_ns, sm_gb_s, scale_up_gb_s;
  std::string channels, slots, batch, tokens, hidden, top_k, experts, dtype;
};

void add_sim_time_options(CLI::App& app, SimTimeArguments& arguments);

// To be called where --time was not typed: refuses options that are for it alone. Throws UsageError.
void refuse_without_time(const SimTimeArguments& arguments);

// Throws UsageError. Returns the exit status.
int simulate_time(const SimTimeArguments& arguments, const std::string& rails, const std::string& seed);

}  // namespace transload::cli
