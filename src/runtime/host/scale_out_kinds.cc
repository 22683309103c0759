// Which networks there are, how a group chooses one, and how each is made.
#include "runtime/host/scale_out_kinds.h"

#include <algorithm>

#include "base/check.h"
#include "os/host.h"
#include "runtime/choices.h"
#include "runtime/host/host_group.h"
#include "transport/scaleout/loopback/loopback.h"
#include "transport/scaleup/shm/shared_region.h"
#ifdef TRANSLOAD_LIBFABRIC
#include "transport/scaleout/libfabric/link.h"
#endif

namespace transload {

namespace {

#ifdef TRANSLOAD_LIBFABRIC
std::unique_ptr<ScaleOut> make_libfabric(HostGroup& group) {
  LibfabricOptions link;
  link.rank = group.map.me;
  link.ranks = group.map.ranks;
  link.provider = group.options.provider;
  link.source_address = group.control->local_address();
  link.region = group.region->base();
  link.region_bytes = group.core.network_bytes();
  link.counterparts = group.core.counterparts();
  std::unique_ptr<LibfabricLink> made;
  group.all_or_none([&] { made = std::make_unique<LibfabricLink>(link); });
  if (const std::string skipped = made->skipped(); !skipped.empty())
    group.core.decide("network provider", made->name(), skipped);
  if (const std::string caution = made->caution(); !caution.empty())
    group.core.decide("network completions", "on delivery", caution);
  const std::vector<std::string> addresses = group.control->gather(made->address());
  group.all_or_none([&] { made->connect(addresses); });
  return made;
}
#else
bool libfabric_available(uint32_t, std::string& why) {
  why = "this build has no libfabric";
  return false;
}
std::unique_ptr<ScaleOut> make_libfabric(HostGroup&) { return nullptr; }  // never chosen: it is not available
#endif

std::unique_ptr<ScaleOut> make_loopback(HostGroup& group) {
  return std::make_unique<LoopbackLink>(group.core.mapped_base);
}

// What the ranks say of the kinds, and of their hosts.
struct Answers {
  std::vector<bool> everywhere;  // by kind
  std::string apart;             // how a rank and rank 0 are, "" if all are on one host
};

Answers ask_all(HostGroup& group, std::string& why) {
  const std::vector<ScaleOutKind>& kinds = scale_out_kinds();
  std::string mine;
  for (const ScaleOutKind& kind : kinds) {
    const bool asked = group.options.scale_out == ScaleOutChoice::kAuto || group.options.scale_out == kind.choice;
    mine += asked && kind.available(group.map.ranks, why) ? 'y' : 'n';
  }
  Answers answers{std::vector<bool>(kinds.size(), true), ""};
  std::vector<std::string> hosts;
  const auto understood = [&kinds](const std::string& said) {
    if (said.size() < kinds.size()) throw malformed("its network");
    return said;
  };
  for (const std::string& said : group.gather(mine + host_identity(), understood)) {
    for (size_t k = 0; k < kinds.size(); ++k) answers.everywhere[k] = answers.everywhere[k] && said[k] == 'y';
    hosts.push_back(said.substr(kinds.size()));
  }
  for (uint32_t r = 1; r < group.map.ranks && answers.apart.empty(); ++r)
    if (const std::string how = how_apart(hosts[0], hosts[r]); !how.empty())
      answers.apart = "ranks 0 and " + std::to_string(r) + " are " + how;
  return answers;
}

// Those that need no shared memory, for whoever asked for one that does.
std::string other_kinds() {
  std::string names;
  for (const ScaleOutKind& kind : scale_out_kinds())
    if (!kind.maps_rails) names += (names.empty() ? "" : " or ") + std::string(word_of(kind.choice));
  return names;
}

}  // namespace

const std::vector<ScaleOutKind>& scale_out_kinds() {
  static const std::vector<ScaleOutKind> kinds{
      {.choice = ScaleOutChoice::kLibfabric,
       .maps_rails = false,
       .available = libfabric_available,
       .make = make_libfabric},
      {.choice = ScaleOutChoice::kLoopback,
       .maps_rails = true,
       .available = [](uint32_t, std::string&) { return true; },
       .make = make_loopback},
  };
  return kinds;
}

const ScaleOutKind* choose_scale_out(HostGroup& group) {
  if (group.map.nodes == 1) return nullptr;
  const ScaleOutChoice wish = group.options.scale_out;
  std::string why;
  const Answers answers = ask_all(group, why);
  const std::vector<ScaleOutKind>& kinds = scale_out_kinds();
  const auto chosen = std::find_if(kinds.begin(), kinds.end(), [&](const ScaleOutKind& kind) {
    return wish == ScaleOutChoice::kAuto ? answers.everywhere[size_t(&kind - kinds.data())] : wish == kind.choice;
  });
  TRANSLOAD_CHECK(chosen != kinds.end());  // every choice has its entry, and auto one that is always there
  const std::string name = word_of(chosen->choice);
  if (chosen->maps_rails && !answers.apart.empty())
    throw Error(Code::kInvalidArgument, "scale_out: " + name + ", must be " + other_kinds() + ": " + answers.apart +
                                            (why.empty() ? "" : " (" + why + ")"));
  if (!answers.everywhere[size_t(chosen - kinds.begin())])
    throw Error(Code::kNotSupported, "scale_out: " + name + " is not there on every rank: " + why);
  group.core.decide("scale-out", name,
                    wish != ScaleOutChoice::kAuto ? "asked for"
                    : chosen->maps_rails          ? "all ranks share a host; " + why
                                                  : "every rank has it");
  return &*chosen;
}

}  // namespace transload
