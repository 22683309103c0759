// The command line of `transload run`: parsed, completed with defaults and checked.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/run/payload.h"
#include "transload/group.h"

namespace CLI {
class App;
}

namespace transload::cli {

enum class FaultPhase : uint8_t { kNotify, kDispatch, kExpert, kCombine };

enum class FaultVerb : uint8_t {
  kKill,    // SIGKILL
  kStop,    // SIGSTOP
  kAbsent,  // stays away from a dispatch until all have been told
  kLeave,   // frees its group instead of making a dispatch
};

struct FaultSpec {
  FaultVerb verb = FaultVerb::kKill;
  uint32_t rank = 0;
  uint64_t iteration = 1;  // counted from 1, warm-up not included
  FaultPhase phase = FaultPhase::kDispatch;
};
const char* name_of(FaultPhase phase);
const char* name_of(FaultVerb verb);
// Whether the fault is a signal to a process, in the middle of a phase; else a rank does it itself, before a dispatch.
inline bool by_signal(const FaultSpec& fault) {
  return fault.verb == FaultVerb::kKill || fault.verb == FaultVerb::kStop;
}

enum class RoutingKind : uint8_t { kFile, kUniform, kZipf, kOneRank, kNone };

struct Options {
  GroupOptions group;  // what the command line says of the group; the rest follows from the workload and the rank
  std::vector<int64_t> tokens;  // tokens that each rank has
  uint64_t hidden = 0;
  Payload payload;       // types of dispatched rows and their scales
  int64_t rows_max = 0;  // bound for the received rows of every rank; 0: none
  Overflow overflow = Overflow::kFail;
  uint32_t top_k = 0;
  bool top_k_given = false;  // false: a routing file decides top_k
  std::string routing;       // the text given on the command line
  RoutingKind routing_kind = RoutingKind::kUniform;
  double zipf_exponent = 0;
  int64_t layer = -1;  // -1: tensors without a prefix
  uint64_t seed = 0;
  uint64_t iterations = 0;
  uint64_t warmup = 0;
  Landing landing = Landing::kAuto;
  CombineSource source = CombineSource::kAuto;
  uint32_t biases = 0;
  std::string launcher;  // the name that Bootstrap gives the launcher; "": whichever started this process
  std::string origin;    // under another launcher: what Bootstrap read from which variables
  std::optional<FaultSpec> fault;
  bool recover = false;
  std::string json;  // "": none, "-": standard output
  std::string dump;  // folder; "": none
  bool quiet = false;
  bool threads = false;
  bool floor = false;
  bool cuda = false;           // ranks are on GPUs; false: on CPUs
  uint32_t gpus = 0;           // GPUs in use; 0 if ranks are on CPUs, or until the GPUs are counted
  uint32_t ranks_per_gpu = 0;  // ranks that share one GPU; 0 if ranks are on CPUs, or until that is known
  int64_t local_rank = -1;     // this rank's index on its host, if another launcher says it; chooses the GPU
  bool graph = false;

  const std::vector<uint32_t>& node_sizes() const { return group.topology.node_sizes; }
  uint32_t ranks() const { return uint32_t(tokens.size()); }
  uint64_t row_bytes() const { return hidden * 2; }  // bytes of a combined row
  int64_t tokens_max() const;
  // The group's options, with channels and slots as the library completes them.
  GroupOptions rings() const;
  // The device of a rank's tensors.
  DLDevice device_of(uint32_t rank) const;
  // Kernels of two processes do not run on one GPU at once, so the ranks of a GPU are threads of one process.
  uint32_t ranks_per_process() const { return threads ? ranks() : cuda ? ranks_per_gpu : 1; }
};

// The file into which --dump writes what is a rank's.
std::string dump_path(const Options& options, uint32_t rank);

// What was typed; text, so that every refusal can name it.
struct RunArguments {
  RunArguments();
  std::string node_sizes, tokens, hidden, experts, top_k, routing, layer, seed, iterations, warmup, dtype, scales,
      rows_max, overflow, landing, combine_source, combine_wire, biases, scale_out, provider, nic, network_memory,
      launcher, fault, soak, json, dump, device, gpus, ranks_per_gpu;
  // Numeric options of GroupOptions, as typed, by name; a flag has the same name. No entry, or "": not typed.
  std::map<std::string, std::string> passed_on;
  bool quiet = false, threads = false, floor = false, graph = false, recover = false;
};

void add_run_options(CLI::App& app, RunArguments& arguments);

// Throws UsageError.
Options checked(const RunArguments& arguments);

}  // namespace transload::cli
