// The program `transload`.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

#include "cli/launch/gpus.h"
#include "cli/launch/launcher.h"
#include "cli/link/link.h"
#include "cli/options.h"
#include "cli/parser.h"
#include "cli/run/fault_injection.h"
#include "cli/run/room.h"
#include "cli/run/soak.h"
#include "cli/show/limits.h"
#include "cli/show/report.h"
#include "cli/show/usage.h"
#include "cli/sim.h"
#include "cli/text.h"
#include "os/file.h"
#include "os/host.h"
#include "transload/version.h"

namespace transload::cli {
namespace {

namespace fs = std::filesystem;

// Why no file can be written at the path; "" if one can.
std::string hindrance_at(const std::string& path) {
  if (const std::string what = if_not_regular(path); !what.empty()) return what;
  if (faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0) return "";
  if (errno != ENOENT) return std::strerror(errno);
  const std::string folder = fs::absolute(path).parent_path();
  if (faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return "";
  return text::format("folder '{}': {}", folder, std::strerror(errno));
}

// Refuses output paths that cannot be written, as far as this is known before any work.
void check_outputs(const Options& options) {
  if (!options.json.empty() && options.json != "-")
    if (const std::string what = hindrance_at(options.json); !what.empty())
      refuse("--json: '{}': {}, or - for standard output", options.json, what);
  if (options.dump.empty()) return;
  std::error_code error, unknown;
  fs::create_directories(options.dump, error);
  if (!fs::is_directory(options.dump, unknown))
    refuse("--dump: '{}': no folder, and none can be made: {}", options.dump, error.message());
  for (uint32_t rank = 0; rank < options.ranks(); ++rank)
    if (const std::string path = dump_path(options, rank), what = hindrance_at(path); !what.empty())
      refuse("--dump: '{}': {}", path, what);
}

std::FILE* open_json(const std::string& path) {
  if (path == "-") return stdout;
  std::string why;
  Descriptor file = open_regular(path, O_WRONLY | O_CREAT | O_TRUNC, why);
  if (!file) refuse("--json: '{}': {}", path, why);
  return fdopen(file.release(), "w");
}

void write_json(const std::string& path, const std::string& text) {
  std::FILE* const file = open_json(path);
  if (file == nullptr) refuse("--json: '{}': {}", path, std::strerror(errno));
  text::print(file, "{}\n", text);
  if ((path == "-" ? std::fflush(file) : std::fclose(file)) != 0)
    refuse("--json: '{}': {}", path, std::strerror(errno));
}

int show(const Options& options, const Workload& workload, const RunOutcome& outcome,
         const std::optional<FloorTimes>& floor) {
  const Summary summary = summarise(options, workload, outcome);
  const RunReport report{
      .options = options, .workload = workload, .outcome = outcome, .summary = summary, .floor = floor};
  for (const std::string& error : summary.errors) text::print(stderr, "transload: {}\n", error);
  if (summary.status == kBadUsage) return summary.status;
  if (!options.json.empty()) write_json(options.json, json_of(report));
  std::FILE* out = options.json == "-" ? stderr : stdout;
  if (!options.quiet) print_table(out, report);
  if (!options.quiet || summary.status != kVerified) print_verdict(out, report);
  if (std::fflush(out) == 0) return summary.status;
  text::print(stderr, "transload: {}: {}\n", out == stdout ? "standard output" : "standard error",
              std::strerror(errno));
  return summary.status == kVerified ? kBadUsage : summary.status;
}

int run_joined(Options options, const Workload& workload) {
  const Bootstrap bootstrap = Bootstrap::from_environment(options.launcher);
  options.origin = bootstrap.origin;
  if (bootstrap.ranks != options.ranks())
    refuse("--node-sizes: {} ranks: must be {}, as the launcher started ({}); --launcher none starts them here",
           options.ranks(), bootstrap.ranks, bootstrap.origin);
  const char* const alone = "is not allowed under a launcher (--launcher none starts the ranks here)";
  if (options.threads || options.floor) refuse("{}: {}", options.threads ? "--threads" : "--floor", alone);
  if (options.fault && !by_signal(*options.fault)) refuse("--fault: {}: {}", name_of(options.fault->verb), alone);
  const RunOutcome outcome = join(options, workload, bootstrap);
  const Summary summary = summarise(options, workload, outcome);
  const uint32_t speaker = summary.culprit == 0u ? 1 : 0;  // the lowest rank that still lives
  if (bootstrap.rank == speaker || summary.status == kBadUsage) return show(options, workload, outcome, std::nullopt);
  // No other rank reports for a rank that met none of the others, so it reports alone.
  const std::optional<FloorTimes> no_floor;
  if (outcome.partial)
    print_verdict(
        stderr, {.options = options, .workload = workload, .outcome = outcome, .summary = summary, .floor = no_floor});
  return summary.status;
}

int run(const RunArguments& arguments, char** argv) {
  Options options = checked(arguments);
  const bool joined = !is_child() && Bootstrap::has_environment(options.launcher);
  if (!is_child() && !joined && !options.launcher.empty() && options.launcher != "none")
    Bootstrap::from_environment(options.launcher);  // throws if that launcher did not start this process
  if (options.cuda) {
    prepare_environment();
    if (joined) options.local_rank = Bootstrap::from_environment(options.launcher).local_rank;
    const bool runs_ranks = is_child() || options.threads || joined;
    assign_gpus(options, runs_ranks ? find_gpus() : ask_for_gpus(), joined);
  }
  if (!is_child()) check_room_for_routes(options);
  const Workload workload(options);
  check_victim(options, workload);
  if (is_child()) return be_child(options, workload);
  check_outputs(options);
  if (joined) return run_joined(options, workload);
  check_room_for_rows(options, workload);
  std::optional<FloorTimes> floor;
  if (options.floor) measure_floor(options, workload, floor.emplace());
  const RunOutcome outcome = options.threads ? run_threads(options, workload) : run_processes(options, argv);
  if (outcome.signal != 0) return 128 + outcome.signal;
  if (options.floor) measure_floor(options, workload, *floor);  // before and after the ranks, because the host is noisy
  return show(options, workload, outcome, floor);
}

// Refuses what a soak does not take, because it draws all else from its seed.
void check_soak(const CLI::App& app, const Options& options) {
  constexpr const char* kTaken[] = {"--soak", "--seed", "--node-sizes", "--device", "--launcher", "--quiet"};
  for (const CLI::Option* option : app.get_options())
    if (option->count() > 0 && std::find(std::begin(kTaken), std::end(kTaken), option->get_name()) == std::end(kTaken))
      refuse("--soak: takes only --seed, --node-sizes, --device, --launcher and --quiet, not {}", option->get_name());
  if (Bootstrap::has_environment(options.launcher))
    refuse("--soak: is not allowed under a launcher ({}); --launcher none runs it here",
           Bootstrap::from_environment(options.launcher).origin);
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Moves Mixture-of-Experts tokens to their experts and back, and checks every bit.", "transload"};
  app.set_version_flag("--version", std::string("transload ") + version());
  app.require_subcommand(1);
  CLI::App* run_command = app.add_subcommand(
      "run", "dispatch tokens, run experts, combine; then cached and backward calls; check every output");
  run_command->footer(
      "Exit status: 0 verified, 1 wrong result, 2 bad usage or input, 3 fault. Without a launcher's environment the "
      "ranks\n"
      "are started on this machine; under torchrun, mpirun, mpiexec or srun this process is one of them.");
  CLI::App* sim_command =
      app.add_subcommand("sim", "run the same roles in simulated clusters made from seeds, and check every rule");
  sim_command->footer(
      "Exit status: 0 all worlds passed (or all canaries were found), 1 some did not, 2 bad usage or input.");
  CLI::App* link_command =
      app.add_subcommand("link", "try a network alone, between two hosts: send rows and counts, and check every byte");
  link_command->footer(
      "This process is one of two ranks or more, half of them on each host; the launcher's environment says which. It\n"
      "prints a JSON line for each figure. Exit status: 0 all rows were right, 1 some were not, 2 bad usage, 3 fault.\n"
      "tools/network_check runs it.");
  const CLI::App* limits_command =
      app.add_subcommand("limits", "print the bounds of this build, and the networks, NICs and GPUs of this machine");
  RunArguments arguments;
  add_run_options(*run_command, arguments);
  SimArguments sim_arguments;
  add_sim_options(*sim_command, sim_arguments);
  LinkArguments link_arguments;
  add_link_options(*link_command, link_arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::RequiredError&) {
    refuse("subcommand: '{}': must be run, sim, link or limits", argc > 1 ? argv[1] : "");
  } catch (const CLI::ParseError& error) {
    refuse_typed(app, error);
  }
  if (sim_command->parsed()) return simulate(sim_arguments);
  if (link_command->parsed()) return measure_link(link_arguments);
  if (limits_command->parsed()) {
    print_limits();
    return kVerified;
  }
  if (arguments.soak.empty()) return run(arguments, argv);
  check_soak(*run_command, checked(arguments));
  return soak(arguments);
}

}  // namespace
}  // namespace transload::cli

int main(int argc, char** argv) {
  using namespace transload;
  try {
    return cli::parse_and_run(argc, argv);
  } catch (const cli::UsageError& error) {
    cli::text::print(stderr, "transload: {}\n", cli::one_line(error.what()));
  } catch (const Error& error) {
    cli::text::print(stderr, "transload: {}\n", cli::one_line(error.what()));
    return error.code() == Code::kFault ? cli::kFaulted : cli::kBadUsage;
  } catch (const std::system_error& error) {  // std::thread throws it
    cli::text::print(stderr, "transload: a thread cannot be started: {}\n", text_of_no_thread(error.code().value()));
  } catch (const std::bad_alloc&) {
    cli::text::print(stderr, "transload: --tokens: this machine has no memory left for this workload\n");
  } catch (const std::exception& error) {
    cli::text::print(stderr, "transload: {}\n", cli::one_line(error.what()));
  }
  return cli::kBadUsage;
}
