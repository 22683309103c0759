// A rank's place in its group, as launchers tell it.
#include "transload/bootstrap.h"

#include <cstdlib>
#include <optional>

#include "runtime/frame.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint16_t kPort = 29600;  // unless TRANSLOAD_PORT says otherwise; 29500 is torchrun's own store

// Variables of one launcher. `local`: how many of the ranks are on this host; null: it does not say.
struct Launcher {
  const char* rank;
  const char* ranks;
  const char* local;
};

constexpr Launcher kLaunchers[] = {
    {"TRANSLOAD_RANK", "TRANSLOAD_RANKS", nullptr},
    {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"SLURM_PROCID", "SLURM_NTASKS", nullptr},
};

std::optional<std::string> variable(const char* name) {
  const char* value = name == nullptr ? nullptr : std::getenv(name);
  if (value == nullptr || *value == 0) return std::nullopt;
  return value;
}

[[noreturn]] void refuse(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

// A whole number in [least, most], or an error that names variable, value and bound.
uint32_t number(const char* name, const std::string& value, uint32_t least, uint32_t most) {
  const bool digits = value.size() <= 10 && value.find_first_not_of("0123456789") == std::string::npos;
  const unsigned long long n = digits ? std::strtoull(value.c_str(), nullptr, 10) : 0;
  if (!digits || n < least || n > most) {
    refuse(std::string(name) + ": " + value + ", but must be a number from " + std::to_string(least) + " to " +
           std::to_string(most));
  }
  return uint32_t(n);
}

const Launcher* launcher() {
  for (const Launcher& launcher : kLaunchers) {
    if (variable(launcher.rank)) return &launcher;
  }
  return nullptr;
}

// All ranks are on this host, so it needs no name.
bool all_here(const Launcher& launcher, uint32_t ranks) {
  if (ranks == 1) return true;
  if (launcher.rank == kLaunchers[3].rank) return variable("SLURM_NNODES") == "1";
  const std::optional<std::string> local = variable(launcher.local);
  return local && *local == std::to_string(ranks);
}

}  // namespace

bool Bootstrap::has_environment() { return launcher() != nullptr; }

Bootstrap Bootstrap::from_environment() {
  const Launcher* from = launcher();
  if (from == nullptr)
    refuse("no launcher: none of TRANSLOAD_RANK, RANK, OMPI_COMM_WORLD_RANK and SLURM_PROCID is set");
  Bootstrap bootstrap;
  const std::optional<std::string> ranks = variable(from->ranks);
  if (!ranks) refuse(std::string(from->ranks) + ": not set, but " + from->rank + " is");
  bootstrap.ranks = number(from->ranks, *ranks, 1, kControlRanksMax);
  bootstrap.rank = number(from->rank, *variable(from->rank), 0, bootstrap.ranks - 1);
  if (const std::optional<std::string> host = variable("MASTER_ADDR")) {
    bootstrap.host = *host;
  } else if (!all_here(*from, bootstrap.ranks)) {
    refuse("MASTER_ADDR: not set, but must be the address of rank 0's host (or its name)");
  }
  const std::optional<std::string> port = variable("TRANSLOAD_PORT");
  bootstrap.port = port ? uint16_t(number("TRANSLOAD_PORT", *port, 1, 65535)) : kPort;
  const std::optional<std::string> served = variable("TRANSLOAD_SERVED");
  const bool by_other = served && number("TRANSLOAD_SERVED", *served, 0, 1) == 1;
  bootstrap.serve = bootstrap.rank == 0 && !by_other;
  return bootstrap;
}

}  // namespace transload
