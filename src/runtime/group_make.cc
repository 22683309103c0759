// Making a group: who is there, where memory lies, which way the network goes, and one word over every path.
#include <sys/eventfd.h>

#include <algorithm>

#include "base/clock.h"
#include "protocol/call.h"
#include "runtime/check_inputs.h"
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

constexpr uint64_t kPageBytes = 4096;

Geometry geometry_of(const GroupOptions& o, const RankMap& map, uint32_t node_size_max, uint32_t experts_of_rank_max) {
  const TokenShape token{o.row_bytes_max, o.scales_max, o.top_k_max, true};
  // A partial sum in fp32, and fp32 weights behind it.
  const uint64_t sum_bytes = o.row_bytes_max * 2 + round_up(uint64_t(o.top_k_max) * 4, kTokenUnit);
  return {map.ranks, map.nodes,           map.fold,      node_size_max, map.peers, o.channels,
          o.slots,   experts_of_rank_max, token.bytes(), sum_bytes};
}

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

const char* name_of(Broken what) {
  constexpr const char* names[] = {"operation", "row bytes",    "scales", "top-k",    "dtype",        "channels",
                                   "wire",      "topk_weights", "handle", "rows_max", "token header", "counts"};
  return names[int(what)];
}

}  // namespace

Group::Impl::Impl(const GroupOptions& given) : options(given) {
  check_options(options);
  call_since = now_ns();
  ranks = std::make_unique<RankTable>(options.topology.node_sizes);
  map = ranks->seen_by(options.bootstrap.rank);
  placement = std::make_unique<PlacementTable>(options.experts, map.ranks, options.expert_owner);
  experts = placement->view();
  geometry = geometry_of(options, map, ranks->node_size_max(), placement->experts_of_rank_max());
  control = std::make_unique<Control>(options.bootstrap, options.deadline_ms,
                                      std::vector<uint32_t>(map.node_of, map.node_of + map.ranks));
  agree();
  const bool loopback = map.nodes > 1 && choose_loopback();
  map_memory(loopback);
  link_network(loopback);
  make_board();
  make_executor();
  try_paths();
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
  decide("scale-out", loopback ? "loopback" : "libfabric",
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
  const NetworkRegion net = NetworkRegion::plan(geometry, sizeof(Card));
  const ScaleUpRegion up = ScaleUpRegion::plan(geometry, sizeof(Card), sizeof(Grant) + 8 * geometry.sources());
  const uint64_t net_bytes = round_up(net.bytes, kPageBytes), up_bytes = round_up(up.bytes, kPageBytes);
  const uint64_t bytes = net_bytes + up_bytes + round_up(options.slab_bytes, kPageBytes);
  const uint64_t host_bytes = bytes_of_host(bytes);
  all_or_none([&] {
    check_room(host_bytes, "group");
    region = std::make_shared<SharedRegion>(bytes);
  });
  arena = std::make_shared<Arena>(region->base() + net_bytes + up_bytes, options.slab_bytes, region);
  bell_fd = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  neighbours = std::make_unique<Neighbours>(map.me, region, bell_fd.get());
  std::vector<RegionOffer> offers;
  for (const std::string& offer : control->gather(neighbours->offer().pack()))
    offers.push_back(RegionOffer::unpack(offer));
  std::vector<uint32_t> wanted;
  for (uint32_t r = 0; r < map.ranks; ++r) {
    const bool rail =
        !map.is_mate(r) && (map.rail_of(map.me, map.node_of[r]) == r || map.rail_of(r, map.node) == map.me);
    if (r != map.me && (map.is_mate(r) || (loopback && rail))) wanted.push_back(r);
  }
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
  board.up = up;
  board.net = net;
  board.network = region->base();
  peer_base.resize(map.peers);
  for (uint32_t p = 0; p < map.peers; ++p)
    peer_base[p] = (map.mate(p) == map.me ? region->base() : neighbours->base(map.mate(p))) + net_bytes;
  decide("scale-up", map.peers > 1 ? "shm" : "none", "ranks of one node share memory");
}

void Group::Impl::link_network(bool loopback) {
  mapped_base.assign(map.ranks, nullptr);
  if (map.nodes == 1) return;
  rails.assign(map.nodes, {});
  sources.assign(map.sources(), {});
  for (uint32_t n = 0; n < map.nodes; ++n)
    if (n != map.node) rails[n] = {map.rail_of(map.me, n), map.slot_of(map.me, n)};
  for (uint32_t s = 0; s < map.sources(); ++s)
    if (const uint32_t r = map.source_rank(s); r != kNobody && r != map.me) sources[s] = {r, map.node};
  std::vector<uint32_t> counterparts;
  for (const auto* list : {&rails, &sources})
    for (const Counterpart& c : *list)
      if (c.rank != kNobody) counterparts.push_back(c.rank);
  std::sort(counterparts.begin(), counterparts.end());
  counterparts.erase(std::unique(counterparts.begin(), counterparts.end()), counterparts.end());
  if (loopback) {
    for (uint32_t r : counterparts) mapped_base[r] = neighbours->base(r);
    scale_out = std::make_unique<LoopbackLink>(mapped_base);
    return;
  }
#ifdef TRANSLOAD_LIBFABRIC
  LibfabricOptions link;
  link.rank = map.me;
  link.ranks = map.ranks;
  link.provider = options.provider;
  link.source_address = control->local_address();
  link.region = region->base();
  link.region_bytes = round_up(board.net.bytes, kPageBytes);
  link.counterparts = counterparts;
  std::unique_ptr<LibfabricLink> made;
  all_or_none([&] { made = std::make_unique<LibfabricLink>(link); });
  made->connect(control->gather(made->address()));
  scale_out = std::move(made);
#endif
}

void Group::Impl::make_board() {
  rails.resize(map.nodes);
  sources.resize(map.sources());
  board.map = map;
  board.geometry = geometry;
  board.peer = peer_base.data();
  board.mapped = mapped_base.data();
  board.rails = rails.data();
  board.sources = sources.data();
  board.always = &always;
  const uint64_t c = geometry.channels, members = uint64_t(map.peers) * map.sources();
  dispatch_up = std::make_unique<RingPositions>(c * map.peers * kDispatchLanes, c * map.peers * kDispatchLanes);
  dispatch_rail = std::make_unique<RingPositions>(c * map.nodes, c * map.sources());
  combine_up = std::make_unique<RingPositions>(c * members, c * members);
  combine_rail = std::make_unique<RingPositions>(c * map.sources(), c * map.nodes);
  const TokenShape token{options.row_bytes_max, options.scales_max, options.top_k_max, true};
  tails.resize(options.tokens_max * token.tail_bytes());
  grants.resize(map.peers * (sizeof(Grant) + 8 * map.sources()));
  counts_to_peers.resize(map.peers * geometry.counts_bytes());
  counts_to_nodes.resize(map.nodes * geometry.node_counts_bytes());
}

void Group::Impl::make_executor() {
  auto asleep = [&](char* network) {
    return reinterpret_cast<std::atomic<uint32_t>*>(network + board.net.asleep.at(0));
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
    control->suspect({map.me, epoch, w.whom, w.seen, w.expected}, now_ns() - uint64_t(options.deadline_ms) * 1000000);
  };
  o.on_idle = [this](const WaitRecord& w) { control->note(epoch, phase, w.present, w.present ? w.whom : kNobody); };
  o.on_broken = [this](const BrokenRecord& b) {
    control->mismatch(b.rank, std::string(name_of(b.what)) + ": " + std::to_string(b.seen) + " on rank " +
                                  std::to_string(b.rank) + ", " + std::to_string(b.expected) + " on rank " +
                                  std::to_string(map.me));
  };
  memory = std::make_unique<HostMemory>(o);
  const uint64_t per_peer = uint64_t(map.peers) * map.sources();
  SchedulerOptions s;
  s.fibers_max = int(kWarpsOfRoleMax * 3 + 2);
  s.near_bytes = 8 * (6 * per_peer + 16 * (map.sources() + map.nodes + map.peers) + 4 * uint64_t(map.ranks)) + 4096;
  scheduler = std::make_unique<Scheduler>(*memory, s);
  control->on_verdict([bell = o.bell] {
    Bell::fence();
    bell.ring();
  });
}

// Exercises every directed pair that a call may use: rails are not symmetric when node sizes differ, and connect
// lazily.
void Group::Impl::try_paths() {
  if (map.nodes == 1) return;
  std::vector<Task> tasks{[&](HostWarp& w) {
    w.enter(Role::kNotify, -1);
    auto greet = [&](const Counterpart* others, uint32_t count, auto word) {
      w.publish(present(w, others, count), [&](Lane m) {
        return Mark<RailWord>{{word(others[m]), others[m].rank}, 1};
      });
    };
    greet(board.rails, map.nodes, [&](const Counterpart& c) { return board.net.hello.at(map.nodes + c.index); });
    greet(board.sources, map.sources(), [&](const Counterpart& c) { return board.net.hello.at(c.index); });
    auto listen = [&](const Counterpart* others, uint32_t count, uint32_t first) {
      auto seen = w.table<Word>(int(count), [](Lane) { return Word(0); });
      w.wait_all(
          present(w, others, count),
          [&](Lane m) {
            return Need{board.my_net_word(board.net.hello.at(first + uint32_t(m.i))), 1, others[m].rank,
                        Waiting::kPath};
          },
          seen);
    };
    listen(board.rails, map.nodes, 0);
    listen(board.sources, map.sources(), map.nodes);
    w.settle();
  }};
  run(tasks, "create", true);
}

}  // namespace transload
