// `transload link`: a rail alone, between ranks of two hosts. Rows under counts, every byte compared; then the same
// rows timed beside raw writes of the same bytes by the same provider.
#pragma once
#include <string>

namespace CLI {
class App;
}

namespace transload::cli {

// What was typed.
struct LinkArguments {
  std::string provider, rows = "4000", row_bytes = "256,2048,14336", deadline_ms = "10000";
  bool spoil = false;
};

void add_link_options(CLI::App& app, LinkArguments& arguments);

// Runs one rank of a launch and returns the exit status. Throws UsageError, and Error for a fault.
int measure_link(const LinkArguments& arguments);

}  // namespace transload::cli
