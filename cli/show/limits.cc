// Prints a line for each figure: a name, a number, words.
#include "cli/show/limits.h"

#include "cli/launch/gpus.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "os/near_nic.h"
#include "transload/limits.h"
#include "transport/scaleout/libfabric/link.h"
#include "transport/scaleout/nvshmem/library.h"
#include "transport/scaleout/nvshmem/settings.h"

namespace transload::cli {
namespace {

template <class Value>
void line(const char* name, const Value& value, const std::string& what) {
  text::print("{:<18} {:>10}  {}\n", name, value, what);
}

// Shows the networks of libfabric that may carry a group, best first.
void print_networks() {
#ifdef TRANSLOAD_LIBFABRIC
  std::string why;
  if (!libfabric_available(2, why)) return line("networks", 0, one_line(why));
  const std::vector<std::string> names = libfabric_providers(2);
  line("networks", names.size(),
       "of libfabric " + libfabric_version() + ", besides loopback; the best that opens is taken");
  for (size_t i = 0; i < names.size(); ++i) line("network", i, names[i]);
#else
  line("networks", 0, "this build has no libfabric");
#endif
}

// Shows whether NVSHMEM is there, and the settings that Transload gives it where the user gave none.
void print_nvshmem() {
  std::string why;
  const bool there = nvshmem_available(2, why);
  const char* const use = ", for GPUs, which drive a NIC by it between hosts; only with --scale-out nvshmem";
  line("nvshmem", there ? "yes" : "no", there ? nvshmem_path() + use : one_line(why));
  for (const NvshmemSetting& s : nvshmem_settings({}))
    line("nvshmem setting", s.user != nullptr ? "yours" : "ours",
         std::string(s.name) + ": " + (s.user != nullptr ? s.user : s.rule));
}

// Shows NICs and GPUs as /sys has them, whether CUDA sees these GPUs or not.
void print_near_nics() {
  const PciDevices devices = find_pci_devices();
  line("nics", devices.nics.size(), "RDMA devices in the PCI tree");
  for (size_t i = 0; i < devices.nics.size(); ++i) line("nic", i, devices.nics[i].name + " " + devices.nics[i].path);
  const std::vector<NearNic> near = near_nics(devices);
  for (size_t i = 0; i < near.size(); ++i) {
    std::string others;
    for (const std::string& other : near[i].as_near) others += (others.empty() ? "; as near: " : " ") + other;
    line("near", i,
         near[i].gpu + " " +
             (near[i].nic.empty() ? "none" : text::format("{} {} steps{}", near[i].nic, near[i].steps, others)));
  }
}

}  // namespace

void print_limits() {
  const Limits l = limits();
  line("ranks_max", l.ranks_max, "ranks of a group");
  line("node_size_max", l.node_size_max, "ranks of a node");
  line("nodes_max", l.nodes_max, "nodes of a group");
  line("streams_max", l.streams_max, "nodes times the largest node over the smallest, rounded up");
  line("top_k_max", l.top_k_max, "choices of a token");
  line("channels_max", l.channels_max, "channels of a group");
  line("slots_max", l.slots_max, "slots of a ring");
  line("token_bytes_max", l.token_bytes_max, "bytes of a row");
  line("token_bytes_unit", l.token_bytes_unit, "of which a row is a multiple");
  line("tokens_max", l.tokens_max, "tokens of a rank in a call");
  print_networks();
  print_nvshmem();
  print_near_nics();
  print_gpus();
}

}  // namespace transload::cli
