// Making a group: who is there, where memory lies, which way the network goes, and one word over every path.
#include <sys/eventfd.h>

#include <algorithm>

#include "base/clock.h"
#include "runtime/fault.h"
#include "runtime/group_impl.h"
#include "transport/scaleout/loopback/loopback.h"
#include "transport/scaleup/shm/neighbours.h"
#include "transport/scaleup/shm/room.h"
#include "transport/scaleup/shm/shared_region.h"
#ifdef TRANSLOAD_LIBFABRIC
#include "transport/scaleout/libfabric/link.h"
#endif

namespace transload {

namespace {

// The options that must be alike, as text that a mismatch can quote.
std::vector<std::string> fingerprint(const GroupOptions& o) {
  std::vector<std::string> items;
  auto add = [&](const std::string& name, uint64_t value) { items.push_back(name + " " + std::to_string(value)); };
  std::string sizes = "topology.node_sizes";
  for (uint32_t s : o.topology.node_sizes) sizes += " " + std::to_string(s);
  items.push_back(sizes);
  add("experts", o.experts);
  uint64_t owners = 1469598103934665603u;  // FNV-1a over the owner table
  for (uint32_t r : o.expert_owner) owners = (owners ^ r) * 1099511628211u;
  add("expert_owner (hash)", owners);
  add("tokens_max", o.tokens_max);
  add("row_bytes_max", o.row_bytes_max);
  add("scales_max", o.scales_max);
  add("top_k_max", o.top_k_max);
  add("channels", o.channels);
  add("slots", o.slots);
  add("deadline_ms", o.deadline_ms);
  add("scale_out", uint64_t(o.scale_out));
  items.push_back("provider " + o.provider);
  return items;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += item + "\n";
  return text;
}

std::string first_difference(const std::string& mine, const std::string& other) {
  size_t begin = 0;
  while (begin < mine.size()) {
    const size_t end = mine.find('\n', begin);
    if (other.compare(begin, end - begin + 1, mine, begin, end - begin + 1) != 0)
      return mine.substr(begin, end - begin) + ", elsewhere " + other.substr(begin, other.find('\n', begin) - begin);
    begin = end + 1;
  }
  return "";
}

}  // namespace

Group::Impl::Impl(const GroupOptions& given)
    : core(given, *this), options(core.options), map(core.map), call_since(now_ns()) {
  control = std::make_unique<Control>(options.bootstrap, options.deadline_ms,
                                      std::vector<uint32_t>(map.node_of, map.node_of + map.ranks));
  agree();
  const bool loopback = map.nodes > 1 && choose_loopback();
  map_memory(loopback);
  link_network(loopback);
  make_executor();
  core.try_paths();
  control->gather("ready");
}

void Group::Impl::agree() {
  const std::string mine = joined(fingerprint(options));
  const std::vector<std::string> all = control->gather(mine);
  for (uint32_t r = 1; r < map.ranks; ++r)
    if (all[r] != all[0])
      throw Error(Code::kInvalidArgument, "options: rank 0 has " + first_difference(all[0], all[r]) + " on rank " +
                                              std::to_string(r) + "; must be alike");
}

// Everyone decides alike: from what all ranks said.
bool Group::Impl::choose_loopback() {
  std::string why;
#ifdef TRANSLOAD_LIBFABRIC
  const bool here = options.scale_out != ScaleOutChoice::kLoopback && libfabric_available(why);
#else
  const bool here = false;
  why = "this build has no libfabric";
#endif
  const std::vector<std::string> all = control->gather((here ? "y" : "n") + host_identity());
  const bool one_host =
      std::all_of(all.begin(), all.end(), [&](const std::string& s) { return s.substr(1) == all[0].substr(1); });
  const bool everywhere = std::all_of(all.begin(), all.end(), [](const std::string& s) { return s[0] == 'y'; });
  const bool loopback =
      options.scale_out == ScaleOutChoice::kLoopback || (options.scale_out == ScaleOutChoice::kAuto && !everywhere);
  if (loopback && !one_host)
    throw Error(Code::kInvalidArgument, "scale_out: loopback, must be libfabric: ranks are on different hosts" +
                                            (why.empty() ? "" : " (" + why + ")"));
  if (!loopback && !everywhere)
    throw Error(Code::kNotSupported, "scale_out: libfabric is not there on every rank: " + why);
  const char* asked = options.scale_out == ScaleOutChoice::kAuto ? "" : "asked for";
  core.decide("scale-out", loopback ? "loopback" : "libfabric",
              *asked     ? asked
              : loopback ? "all ranks share a host; " + why
                         : "every rank has it");
  return loopback;
}

// A step that may fail on one rank: then all ranks throw what the lowest of them says.
void Group::Impl::all_or_none(const std::function<void()>& step) {
  std::string mine;
  try {
    step();
  } catch (const Error& error) {
    mine = std::string(1, char(error.code())) + error.what();
  }
  const std::vector<std::string> all = control->gather(mine);
  for (uint32_t r = 0; r < map.ranks; ++r)
    if (!all[r].empty())
      throw Error(Code(all[r][0]), all[r].substr(1) + (map.ranks > 1 ? " (rank " + std::to_string(r) + ")" : ""));
}

// What all ranks of my host ask for together.
uint64_t Group::Impl::bytes_of_host(uint64_t mine) {
  uint64_t sum = 0;
  for (const std::string& other : control->gather(std::to_string(mine) + " " + host_identity()))
    if (const size_t space = other.find(' '); other.substr(space + 1) == host_identity())
      sum += std::stoull(other.substr(0, space));
  return sum;
}

void Group::Impl::map_memory(bool loopback) {
  const uint64_t net_bytes = core.network_bytes(), up_bytes = core.scale_up_bytes();
  const uint64_t bytes = net_bytes + up_bytes + round_up(options.slab_bytes, kPageBytes);
  const uint64_t host_bytes = bytes_of_host(bytes);
  all_or_none([&] {
    check_room(host_bytes, "group");
    region = std::make_shared<SharedRegion>(bytes);
  });
  connect(loopback);
  Place place;
  place.network = region->base();
  place.scale_up.resize(map.peers);
  for (uint32_t p = 0; p < map.peers; ++p)
    place.scale_up[p] = (p == map.peer ? region->base() : neighbours->base(map.mate(p))) + net_bytes;
  place.mapped.resize(map.ranks);
  if (loopback)
    for (uint32_t r : core.counterparts()) place.mapped[r] = neighbours->base(r);
  place.arena = std::make_shared<Arena>(region->base() + net_bytes + up_bytes, options.slab_bytes, region);
  core.place(std::move(place));
  core.decide("scale-up", map.peers > 1 ? "shm" : "none", "ranks of one node share memory");
}

// Maps the memory of those whom I store to.
void Group::Impl::connect(bool loopback) {
  bell_fd = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  neighbours = std::make_unique<Neighbours>(map.me, region, bell_fd.get());
  std::vector<RegionOffer> offers;
  for (const std::string& offer : control->gather(neighbours->offer().pack()))
    offers.push_back(RegionOffer::unpack(offer));
  const std::vector<uint32_t> wanted = core.neighbours(loopback);
  for (uint32_t r : wanted)
    if (!offers[r].same_host(offers[map.me]))
      throw Error(Code::kInvalidArgument, "topology: ranks " + std::to_string(std::min(r, map.me)) + " and " +
                                              std::to_string(std::max(r, map.me)) +
                                              " are in one node, must be on one host");
  try {
    neighbours->connect(offers, wanted, options.deadline_ms);
  } catch (const Error& error) {
    if (error.code() != Code::kFault) throw;
    control->suspect({map.me, 0, error.fault().culprit_rank, 0, 1}, call_since);  // so that all name the same culprit
    throw Error(control->fault(control->verdict(), "create", call_since));
  }
}

void Group::Impl::link_network(bool loopback) {
  if (map.nodes == 1) return;
  if (loopback) {
    scale_out = std::make_unique<LoopbackLink>(core.mapped_base);
    return;
  }
#ifdef TRANSLOAD_LIBFABRIC
  LibfabricOptions link;
  link.rank = map.me;
  link.ranks = map.ranks;
  link.provider = options.provider;
  link.source_address = control->local_address();
  link.region = region->base();
  link.region_bytes = core.network_bytes();
  link.counterparts = core.counterparts();
  std::unique_ptr<LibfabricLink> made;
  all_or_none([&] { made = std::make_unique<LibfabricLink>(link); });
  made->connect(control->gather(made->address()));
  scale_out = std::move(made);
#endif
}

void Group::Impl::make_executor() {
  auto asleep = [&](char* network) {
    return reinterpret_cast<std::atomic<uint32_t>*>(network + core.board.net.asleep.at(0));
  };
  HostMemoryOptions o;
  o.rank = map.me;
  o.bell = Bell{asleep(region->base()), bell_fd.get()};
  o.bells.resize(map.ranks);
  for (uint32_t r = 0; r < map.ranks; ++r)
    if (char* const base = r == map.me ? nullptr : neighbours->base(r))
      o.bells[r] = Bell{asleep(base), neighbours->bell_fd(r)};
  o.scale_out = scale_out.get();
  o.abort = &control->abort_word();
  o.deadline_ms = options.deadline_ms;
  o.progress = options.progress;
  o.on_expired = [this](const WaitRecord& w) {
    control->suspect({map.me, core.epoch, w.whom, w.seen, w.expected},
                     now_ns() - uint64_t(options.deadline_ms) * 1000000);
  };
  o.on_idle = [this](const WaitRecord& w) {
    control->note(core.epoch, core.phase, w.present, w.present ? w.whom : kNobody);
  };
  o.on_broken = [this](const BrokenRecord& b) { control->mismatch(b.rank, text_of(b, map.me)); };
  memory = std::make_unique<HostMemory>(o);
  SchedulerOptions s;
  s.fibers_max = core.warps_max();
  s.near_bytes = core.near_bytes();
  scheduler = std::make_unique<Scheduler>(*memory, s);
  control->on_verdict([bell = o.bell] {
    Bell::fence();
    bell.ring();
  });
}

}  // namespace transload
