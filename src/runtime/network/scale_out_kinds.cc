// Which networks there are, how a group chooses one, and how each is made.
#include "runtime/network/scale_out_kinds.h"

#include <algorithm>

#include "base/check.h"
#include "os/host.h"
#include "runtime/choices.h"
#include "runtime/said.h"
#include "transport/scaleout/loopback/loopback.h"
#include "transport/scaleout/nvshmem/library.h"
#include "transport/scaleout/nvshmem/settings.h"
#ifdef TRANSLOAD_LIBFABRIC
#include "transport/scaleout/libfabric/link.h"
#endif

namespace transload {

namespace {

#ifdef TRANSLOAD_LIBFABRIC
std::unique_ptr<ScaleOut> make_libfabric(GroupMaking& group, const NetworkPlace& place) {
  RankState& state = group.state();
  LibfabricOptions link;
  link.rank = state.map.me;
  link.ranks = state.map.ranks;
  link.provider = state.options.provider;
  link.source_address = group.control->local_address();
  link.region = place.region;
  link.region_bytes = place.bytes;
  link.device = place.device;
  link.nic_asked_for = !state.options.nic.empty();
  link.nic = link.nic_asked_for ? state.options.nic : place.near_nic;
  link.counterparts = state.counterparts();
  std::unique_ptr<LibfabricLink> made;
  group.all_or_none([&] { made = std::make_unique<LibfabricLink>(link); });
  if (!link.nic.empty()) {
    const bool taken = made->domain().rfind(link.nic, 0) == 0;
    state.decide("nic", made->domain(),
                 link.nic_asked_for ? "asked for"
                 : taken            ? "the nearest to this rank's GPU"
                                    : link.nic + " is nearer to this rank's GPU, and this provider lacks it");
  }
  if (const std::string skipped = made->skipped(); !skipped.empty())
    state.decide("network provider", made->name(), skipped);
  if (const std::string caution = made->caution(); !caution.empty())
    state.decide("network completions", "on delivery", caution);
  const std::vector<std::string> addresses = group.control->gather(made->address());
  group.all_or_none([&] { made->connect(addresses); });
  return made;
}
#else
bool libfabric_available(uint32_t, std::string& why) {
  why = "this build has no libfabric";
  return false;
}
std::unique_ptr<ScaleOut> make_libfabric(GroupMaking&, const NetworkPlace&) {
  return nullptr;
}  // never called, because libfabric is not available
#endif

std::unique_ptr<ScaleOut> make_loopback(GroupMaking&, const NetworkPlace& place) {
  return std::make_unique<LoopbackLink>(*place.mapped);
}

#ifdef TRANSLOAD_CUDA
constexpr auto kOpenNvshmemQueues = open_nvshmem_queues;
#else
constexpr std::unique_ptr<NicQueues> (*kOpenNvshmemQueues)(GroupMaking&, const NetworkPlace&) = nullptr;
#endif

std::unique_ptr<ScaleOut> make_nvshmem(GroupMaking&, const NetworkPlace& place) {
  return std::make_unique<LoopbackLink>(*place.mapped, kNvshmemName);
}

// What all ranks together say of the kinds, and of their hosts.
struct Answers {
  std::vector<bool> everywhere;       // [kinds] every rank has the kind
  std::vector<std::string> unmapped;  // [kinds] why a rank maps no rail though all are on one host; "": all do
  std::string apart;                  // how a rank and rank 0 are apart; "": all are on one host
};

Answers ask_all(GroupMaking& group, std::string& why) {
  const std::vector<ScaleOutKind>& kinds = scale_out_kinds();
  const GroupOptions& options = group.state().options;
  const uint32_t ranks = group.state().map.ranks;
  NetworkSaid mine;
  group.all_or_none([&] {
    for (const ScaleOutKind& kind : kinds) {
      const bool automatic = options.scale_out == ScaleOutChoice::kAuto;
      const bool asked = automatic ? !kind.when_asked : options.scale_out == kind.choice;
      const bool maps = kind.maps_nothing == nullptr || !kind.maps_nothing();
      const KindSaid there = maps ? KindSaid::kYes : KindSaid::kUnmapped;
      mine.kinds.push_back(asked && kind.available(ranks, why) ? there : KindSaid::kNo);
    }
    mine.host = host_identity();
  });
  Answers answers{std::vector<bool>(kinds.size(), true), std::vector<std::string>(kinds.size()), ""};
  std::vector<std::string> hosts;
  std::vector<bool> may_map_nothing;
  for (const ScaleOutKind& kind : kinds) may_map_nothing.push_back(kind.maps_nothing != nullptr);
  const auto unpack = [&](std::string_view said) { return NetworkSaid::unpack(said, may_map_nothing); };
  for (const NetworkSaid& said : group.gather(mine.pack(), unpack)) {
    for (size_t k = 0; k < kinds.size(); ++k) {
      answers.everywhere[k] = answers.everywhere[k] && said.kinds[k] != KindSaid::kNo;
      if (said.kinds[k] == KindSaid::kUnmapped && answers.unmapped[k].empty())
        answers.unmapped[k] = std::string(kinds[k].told_by) + " is set on rank " + std::to_string(hosts.size());
    }
    hosts.push_back(said.host);
  }
  for (uint32_t r = 1; r < ranks && answers.apart.empty(); ++r)
    if (const std::string how = how_apart(hosts[0], hosts[r]); !how.empty())
      answers.apart = "ranks 0 and " + std::to_string(r) + " are " + how;
  return answers;
}

// The names of the kinds that fit, for whoever asked for one that does not.
std::string other_kinds(bool (*fits)(const ScaleOutKind&)) {
  std::string names;
  for (const ScaleOutKind& kind : scale_out_kinds())
    if (fits(kind)) names += (names.empty() ? "" : " or ") + std::string(word_of(kind.choice));
  return names;
}

bool crosses_hosts(const ScaleOutKind& kind) { return !kind.maps_rails; }
bool crosses_hosts_by_gpus(const ScaleOutKind& kind) { return !kind.maps_rails || kind.open_queues != nullptr; }

// Whether rails of that kind are mapped: `unmapped` says why they are not, though they could be. Throws Error if there
// is no other way.
bool maps_rails(const ScaleOutKind& kind, const std::string& unmapped, bool on_gpus, const std::string& why) {
  if (!kind.maps_rails || unmapped.empty()) return kind.maps_rails;
  const auto crosses = on_gpus ? crosses_hosts_by_gpus : crosses_hosts;
  if (crosses(kind)) return false;
  throw Error(Code::kInvalidArgument, std::string("scale_out: ") + word_of(kind.choice) + ", must be " +
                                          other_kinds(crosses) + ": " + unmapped +
                                          (why.empty() ? "" : " (" + why + ")"));
}

}  // namespace

std::vector<ScaleOutKind>& scale_out_kinds() {
  static std::vector<ScaleOutKind> kinds{
      {.choice = ScaleOutChoice::kLibfabric,
       .maps_rails = false,
       .on_cpus = true,
       .when_asked = false,
       .available = libfabric_available,
       .place = nullptr,
       .make = make_libfabric},
      {.choice = ScaleOutChoice::kLoopback,
       .maps_rails = true,
       .on_cpus = true,
       .when_asked = false,
       .available = [](uint32_t, std::string&) { return true; },
       .place = nullptr,
       .make = make_loopback},
      {.choice = ScaleOutChoice::kNvshmem,
       .maps_rails = true,
       .on_cpus = false,
       .when_asked = true,
       .available = nvshmem_available,
       .place = place_in_heap,
       .make = make_nvshmem,
       .open_queues = kOpenNvshmemQueues,
       .maps_nothing = nvshmem_maps_nothing,
       .told_by = "NVSHMEM_DISABLE_P2P"},
  };
  return kinds;
}

std::string sentence_of(const NetworkReason& r) {
  if (r.asked) return "asked for" + (r.unmapped.empty() ? "" : "; " + r.unmapped);
  if (r.could_map && r.on_gpus) return "ranks on GPUs of one host map their rails";
  if (r.could_map) return "all ranks share a host; " + r.lacking;
  if (!r.on_gpus) return "every rank has it";
  return "every rank has it; " + other_kinds([](const ScaleOutKind& kind) { return kind.when_asked; }) +
         ", by which GPUs drive a NIC, has run over none yet and is only for who asks for it";
}

ChosenNetwork choose_scale_out(GroupMaking& group) {
  RankState& state = group.state();
  if (state.map.nodes == 1) return {.kind = nullptr, .maps_rails = true};
  const ScaleOutChoice wish = state.options.scale_out;
  const bool on_gpus = state.options.device.device_type != kDLCPU;
  const std::vector<ScaleOutKind>& kinds = scale_out_kinds();
  for (const ScaleOutKind& kind : kinds)
    if (wish == kind.choice && !kind.on_cpus && !on_gpus)
      throw Error(Code::kNotSupported, std::string("scale_out: ") + word_of(wish) + " on CPUs, must be " +
                                           other_kinds([](const ScaleOutKind& other) { return other.on_cpus; }) +
                                           ": its memory is that of GPUs");
  std::string why;
  const Answers answers = ask_all(group, why);
  const bool near = on_gpus && answers.apart.empty();
  const auto fits = [&](const ScaleOutKind& kind) {
    if (wish != ScaleOutChoice::kAuto) return wish == kind.choice;
    return !kind.when_asked && answers.everywhere[size_t(&kind - kinds.data())] && (!near || kind.maps_rails);
  };
  const auto chosen = std::find_if(kinds.begin(), kinds.end(), fits);
  TRANSLOAD_CHECK(chosen != kinds.end());  // every choice is in the list, and one that auto may take is always there
  const std::string name = word_of(chosen->choice);
  const std::string& unmapped =
      answers.apart.empty() ? answers.unmapped[size_t(chosen - kinds.begin())] : answers.apart;
  const bool maps = maps_rails(*chosen, unmapped, on_gpus, why);
  if (!answers.everywhere[size_t(chosen - kinds.begin())])
    throw Error(Code::kNotSupported, "scale_out: " + name + " is not available on every rank: " + why);
  state.decide("scale-out", name,
               sentence_of({.asked = wish != ScaleOutChoice::kAuto,
                            .on_gpus = on_gpus,
                            .could_map = chosen->maps_rails,
                            .unmapped = maps == chosen->maps_rails ? "" : unmapped,
                            .lacking = why}));
  return {.kind = &*chosen, .maps_rails = maps};
}

}  // namespace transload
