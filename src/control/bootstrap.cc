// A rank's place in its group, as launchers tell it: one table of their variables, and what follows from them.
#include "transload/bootstrap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <optional>

#include "control/frame.h"
#include "control/launchers.h"
#include "control/secret.h"
#include "os/descriptor.h"
#include "transload/status.h"

namespace transload {

namespace {

// Ports that follow from a job lie below those that systems hand out unasked. They are even: the next one is free for
// what the same job opens beside its rendezvous.
constexpr uint32_t kPortFirst = 20000;
constexpr uint32_t kPorts = 4096;
constexpr size_t kSecretBytesMax = 4096;

using Names = std::initializer_list<const char*>;

// The variables of a launcher. Of several names the first that is set counts; without a name the launcher does not say.
struct Launcher {
  const char* name;
  const char* rank;
  const char* ranks;
  Names local_rank = {};   // index among the ranks of this host
  Names local_ranks = {};  // how many ranks this host has
  Names job = {};          // with `job_part` these tell apart any two launches that live at the same time
  Names job_part = {};
  bool outer = false;  // the launcher starts other launchers, whose ranks it does not know
};

// Launchers in the order in which they are asked: one that is started by another comes before it. PALS_RANKID comes
// after SLURM, because SLURM_NTASKS is what the user asked for, and PALS under SLURM may not know it.
const Launcher kLaunchers[] = {
    {.name = "env",
     .rank = "TRANSLOAD_RANK",
     .ranks = "TRANSLOAD_RANKS",
     .local_rank = {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}},
    {.name = "torchrun",
     .rank = "RANK",
     .ranks = "WORLD_SIZE",
     .local_rank = {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"},
     .local_ranks = {"LOCAL_WORLD_SIZE"},
     .job = {"TORCHELASTIC_RUN_ID"},
     .job_part = {"MASTER_PORT"}},
    {.name = "mpi",
     .rank = "OMPI_COMM_WORLD_RANK",
     .ranks = "OMPI_COMM_WORLD_SIZE",
     .local_rank = {"OMPI_COMM_WORLD_LOCAL_RANK"},
     .local_ranks = {"OMPI_COMM_WORLD_LOCAL_SIZE"},
     .job = {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}},
    {.name = "pmi",
     .rank = "PMI_RANK",
     .ranks = "PMI_SIZE",
     .local_rank = {"PMI_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID"},
     .local_ranks = {"PMI_LOCAL_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"},
     .job = {"PALS_APID", "PMI_JOBID", "I_MPI_HYDRA_UUID"}},
    {.name = "slurm",
     .rank = "SLURM_PROCID",
     .ranks = "SLURM_NTASKS",
     .local_rank = {"SLURM_LOCALID"},
     .job = {"SLURM_JOB_ID"},
     .job_part = {"SLURM_STEP_ID"},
     .outer = true},
    {.name = "pmi",
     .rank = "PALS_RANKID",
     .ranks = "PMI_SIZE",
     .local_rank = {"PALS_LOCAL_RANKID"},
     .local_ranks = {"PALS_LOCAL_SIZE"},
     .job = {"PALS_APID"}},
    {.name = "mpi", .rank = "PMIX_RANK", .ranks = "OMPI_COMM_WORLD_SIZE", .job = {"PMIX_NAMESPACE"}},
};

[[noreturn]] void refuse(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == 0) return std::nullopt;
  return value;
}

struct Found {
  const char* name;
  std::string value;
};

std::optional<Found> first_of(const Names& names) {
  for (const char* name : names) {
    if (const std::optional<std::string> value = variable(name)) return Found{name, *value};
  }
  return std::nullopt;
}

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

std::string known_names() {
  std::string all;
  for (const std::string& name : launcher_names()) all += (all.empty() ? "" : ", ") + name;
  return all;
}

// The first launcher named `asked`, or of any name if that is empty, whose variable of the rank is set.
const Launcher* find_launcher(const std::string& asked) {
  bool known = asked.empty() || asked == "none";
  for (const Launcher& launcher : kLaunchers) {
    if (!asked.empty() && asked != launcher.name) continue;
    known = true;
    if (variable(launcher.rank)) return &launcher;
  }
  if (!known) refuse("launcher: '" + asked + "': must be one of " + known_names());
  return nullptr;
}

// Throws if a second launcher gives this process another place: a pod or a shell may carry the variables of one while
// another starts processes in it. No objection is made to outer launchers, which start others as a matter of course, to
// torchrun if it says that it did, and to TRANSLOAD_RANK, which a user sets on purpose.
void refuse_second_opinion(const Launcher& from) {
  if (from.rank == kLaunchers[0].rank || (from.rank == kLaunchers[1].rank && variable("TORCHELASTIC_RUN_ID"))) return;
  const auto place = [](const Launcher& l) {
    return std::string(l.name) + " says rank " + variable(l.rank).value_or("") + " of " +
           variable(l.ranks).value_or("an unknown number") + " (" + l.rank + ", " + l.ranks + ")";
  };
  for (const Launcher* other = &from + 1; other != std::end(kLaunchers); ++other) {
    if (other->outer || !variable(other->rank) || !variable(other->ranks)) continue;
    if (variable(other->rank) == variable(from.rank) && variable(other->ranks) == variable(from.ranks)) continue;
    const std::string second = other->name == std::string(from.name) ? "" : std::string(", --launcher ") + other->name;
    refuse("launcher: " + place(from) + ", but " + place(*other) + ": choose with --launcher " + from.name + second +
           " or --launcher none; in a program of yours with the argument of Bootstrap::from_environment");
  }
}

// Whether all ranks are on this host, so that the rendezvous needs no address.
bool all_here(const Launcher& launcher, uint32_t ranks) {
  if (ranks == 1) return true;
  if (launcher.outer) return variable("SLURM_NNODES") == "1";
  const std::optional<Found> local = first_of(launcher.local_ranks);
  return local && local->value == std::to_string(ranks);
}

// Which launch this is, in words that all ranks write alike; `from` gets the variables' names. MASTER_PORT is another
// server's, so it differs between launches on one host, but mpirun passes it to some ranks only: it is asked last.
std::string job_of(const Launcher& launcher, std::string& from) {
  std::string job;
  const auto add = [&](const std::optional<Found>& found) {
    if (!found) return;
    job += (job.empty() ? "" : ".") + found->value;
    from += (from.empty() ? "" : ", ") + std::string(found->name);
  };
  add(first_of({"TRANSLOAD_JOB"}));
  if (!job.empty()) return job;
  add(first_of(launcher.job));
  add(first_of(launcher.job_part));
  if (job.empty()) add(first_of({"MASTER_PORT"}));
  return job;
}

std::string read_secret_file(const std::string& path) {
  const std::string what = "TRANSLOAD_SECRET_FILE: " + path + ": ";
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about {};
  if (!file || ::fstat(file.get(), &about) != 0) refuse(what + std::strerror(errno));
  if (!S_ISREG(about.st_mode)) refuse(what + "not a regular file");
  if ((about.st_uid != ::geteuid() && about.st_uid != 0) || (about.st_mode & 077) != 0)
    refuse(what + "others than its owner may read or write it: it must belong to this user, with mode 0600 or 0400");
  char text[kSecretBytesMax + 1];
  const ssize_t bytes = ::read(file.get(), text, sizeof text);
  if (bytes < 0) refuse(what + std::strerror(errno));
  std::string secret(text, size_t(bytes));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.empty() || secret.size() > kSecretBytesMax)
    refuse(what + std::to_string(secret.size()) + " bytes, but must be 1 to " + std::to_string(kSecretBytesMax));
  return secret;
}

std::string secret_of_environment() {
  if (const std::optional<std::string> secret = variable("TRANSLOAD_SECRET")) return *secret;
  if (const std::optional<std::string> path = variable("TRANSLOAD_SECRET_FILE")) return read_secret_file(*path);
  return {};
}

// Finds where the ranks meet. If nothing names the job, the port stays 0, and making a group says so.
void find_rendezvous(const Launcher& from, Bootstrap& bootstrap, std::string& origin) {
  const std::optional<std::string> host = variable("MASTER_ADDR");
  const bool here = all_here(from, bootstrap.ranks);
  if (host && !here) {
    bootstrap.host = *host;
    origin += ", rendezvous at " + *host + " (MASTER_ADDR)";
  } else if (!here) {
    refuse(std::string("MASTER_ADDR: not set, but must be the address of rank 0's host (or its name): ") + from.ranks +
           " is " + std::to_string(bootstrap.ranks) + ", not all of them on this host");
  } else {
    origin += ", rendezvous on this host";
  }
  if (const std::optional<std::string> port = variable("TRANSLOAD_PORT")) {
    bootstrap.port = uint16_t(number("TRANSLOAD_PORT", *port, 1, 65535));
    origin += ", port " + *port + " (TRANSLOAD_PORT)";
  } else if (!bootstrap.job.empty()) {
    bootstrap.port = uint16_t(kPortFirst + 2 * hash_below(bootstrap.job, kPorts));
    origin += ", port " + std::to_string(bootstrap.port) + " (of the job)";
  }
}

}  // namespace

std::vector<std::string> launcher_names() {
  std::vector<std::string> names;
  for (const Launcher& launcher : kLaunchers)
    if (std::find(names.begin(), names.end(), launcher.name) == names.end()) names.emplace_back(launcher.name);
  names.emplace_back("none");
  return names;
}

bool Bootstrap::has_environment(const std::string& launcher) { return find_launcher(launcher) != nullptr; }

Bootstrap Bootstrap::from_environment(const std::string& launcher) {
  const Launcher* from = find_launcher(launcher);
  if (from == nullptr) {
    std::string none;
    for (const Launcher& known : kLaunchers) {
      if (launcher.empty() || launcher == known.name) none += (none.empty() ? "" : ", ") + std::string(known.rank);
    }
    refuse("launcher: '" + launcher +
           "': " + (none.find(',') == std::string::npos ? none + " is not set" : "none of " + none + " is set"));
  }
  if (launcher.empty()) refuse_second_opinion(*from);
  Bootstrap bootstrap;
  const std::optional<std::string> ranks = variable(from->ranks);
  if (!ranks) refuse(std::string(from->ranks) + ": not set, but " + from->rank + " is");
  bootstrap.ranks = number(from->ranks, *ranks, 1, kControlRanksMax);
  bootstrap.rank = number(from->rank, *variable(from->rank), 0, bootstrap.ranks - 1);
  if (const std::optional<Found> local = first_of(from->local_rank))
    bootstrap.local_rank = int32_t(number(local->name, local->value, 0, kControlRanksMax - 1));
  if (const std::optional<Found> local = first_of(from->local_ranks))
    bootstrap.local_ranks = int32_t(number(local->name, local->value, 1, kControlRanksMax));
  std::string job_from;
  bootstrap.job = job_of(*from, job_from);
  if (bootstrap.job.size() > kNameBytesMax)
    refuse(job_from + ": " + std::to_string(bootstrap.job.size()) + " bytes, but at most " +
           std::to_string(kNameBytesMax));
  bootstrap.origin = std::string(from->name) + ": rank " + std::to_string(bootstrap.rank) + " of " + *ranks + " (" +
                     from->rank + ", " + from->ranks + ")" +
                     (bootstrap.job.empty() ? "" : ", job " + bootstrap.job + " (" + job_from + ")");
  find_rendezvous(*from, bootstrap, bootstrap.origin);
  bootstrap.secret = secret_of_environment();
  const std::optional<std::string> served = variable("TRANSLOAD_SERVED");
  const bool by_other = served && number("TRANSLOAD_SERVED", *served, 0, 1) == 1;
  if (by_other && bootstrap.rank == 0) bootstrap.origin += ", served by another process (TRANSLOAD_SERVED)";
  bootstrap.serve = bootstrap.rank == 0 && !by_other;
  return bootstrap;
}

}  // namespace transload
