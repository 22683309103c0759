// The networks between nodes that a group chooses from. One more is an entry in the list.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "runtime/group_making.h"
#include "runtime/network/heap_place.h"
#include "runtime/network/nic_queues.h"
#include "transport/scaleout/registered.h"

namespace transload {

// What a network needs of the rank that makes it. All of it outlives the network.
struct NetworkPlace {
  char* region;                      // the rank's network region, or memory that the network brought for it
  uint64_t bytes;                    // length of `region`; a network may bring more than a network region needs
  const std::vector<char*>* mapped;  // [ranks] the regions of others, where rails are mapped
  FabricDevice device = {};          // the device on which the region lies
  std::string near_nic = "";         // the NIC to take if the caller named none
  const HeapBlock* heap = nullptr;   // the block that the network brought
};

struct ScaleOutKind {
  ScaleOutChoice choice;  // the caller's name for the kind: runtime/choices.h
  bool maps_rails;        // warps store to rails directly where all ranks are on one host
  bool on_cpus;           // ranks on CPUs have the kind, too
  bool when_asked;        // only callers who ask for the kind get it
  // Whether this machine and build have it for this many ranks; if not, `why` says why.
  bool (*available)(uint32_t ranks, std::string& why);
  // Collective, before any memory is made: a network region in memory that the network brings. Null: it brings none.
  std::unique_ptr<HeapBlock> (*place)(GroupMaking& group, const HeapHome& home);
  // Collective, once the rank has its network region. Throws Error.
  std::unique_ptr<ScaleOut> (*make)(GroupMaking& group, const NetworkPlace& place);
  // Instead of `make`, for ranks on GPUs whose warps drive the NIC, where rails are not mapped. Null: no warps do.
  std::unique_ptr<NicQueues> (*open_queues)(GroupMaking& group, const NetworkPlace& place) = nullptr;
  // Whether the environment variable `told_by` tells this process to map no rail, though all ranks are on one host.
  // Null: no variable does.
  bool (*maps_nothing)() = nullptr;
  const char* told_by = "";
  // Kernels that drive a NIC carry the rows though rails are mapped. No kind of the list says so: it is for a program
  // that puts its own kind there, to measure what the code of these kernels costs (tests/soft_nic/on_gpus.cc).
  bool kernels_of_nics = false;
};

// ScaleOutKind::open_queues of NVSHMEM, in builds with CUDA.
std::unique_ptr<NicQueues> open_nvshmem_queues(GroupMaking& group, const NetworkPlace& place);

// The kinds of network that this process has, best first. Before it has groups, a test may put another `make` in the
// place of one, and allow ranks on CPUs.
std::vector<ScaleOutKind>& scale_out_kinds();

struct ChosenNetwork {
  const ScaleOutKind* kind = nullptr;  // null: a group of one node needs none
  bool maps_rails = false;             // the kind maps the rails of this group
};

// Why this network was chosen, and why its rails are mapped or not.
struct NetworkReason {
  bool asked = false;         // the caller asked for the network by name
  bool on_gpus = false;       // ranks are on GPUs
  bool could_map = false;     // the network's kind maps rails
  std::string unmapped = "";  // why the network maps no rail although its kind does
  std::string lacking = "";   // why this rank lacks another kind
};
std::string sentence_of(const NetworkReason& reason);

// Collective: all ranks choose alike, from what each has, or throw the same Error. Where all ranks are on one host,
// ranks on GPUs prefer rails that are mapped.
ChosenNetwork choose_scale_out(GroupMaking& group);

}  // namespace transload
