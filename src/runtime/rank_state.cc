// What a group is made of.
#include "runtime/rank_state.h"

#include <algorithm>
#include <atomic>
#include <random>

#include "base/check.h"
#include "channel/card.h"
#include "channel/rail_ends.h"
#include "runtime/call/check_inputs.h"
#include "runtime/group_options.h"

namespace transload {

namespace {

Geometry geometry_of(const GroupOptions& o, const RankTable& ranks, const PlacementTable& placement) {
  const RankMap map = ranks.seen_by(o.bootstrap.rank);
  const TokenShape token = longest_token(o);
  // A row or a partial sum as the wire has it, then fp32 weights. Partial sums that fill their slots lie side by side,
  // so one put carries several of them.
  const uint64_t on_wire = o.combine_wire == CombineWire::kF32 ? 2 * o.row_bytes_max : o.row_bytes_max,
                 sum_bytes = on_wire + round_up(uint64_t(o.top_k_max) * 4, kTokenUnit);
  return {.ranks = map.ranks,
          .nodes = map.nodes,
          .fold = map.fold,
          .node_size_max = ranks.node_size_max(),
          .peers = map.peers,
          .channels = o.channels,
          .slots = o.slots,
          .experts_of_rank_max = placement.experts_of_rank_max(),
          .token_bytes = token.bytes(),
          .sum_bytes = sum_bytes,
          .peer_slots = o.peer_slots};
}

// No machine has room for more bytes of rings. With this bound no size that follows from them overflows.
constexpr uint64_t kRegionBytesMax = uint64_t(1) << 46;

void check_ring_bytes(uint64_t bytes) {
  if (bytes > kRegionBytesMax)
    throw Error(Code::kInvalidArgument, "channels, slots and row_bytes_max: rings of " +
                                            (bytes == kTooLarge ? "more than 2^64" : std::to_string(bytes)) +
                                            " bytes, must be at most " + std::to_string(kRegionBytesMax));
}

uint64_t next_id() {
  static std::atomic<uint64_t> next = [] {  // random, because other processes have groups too
    std::random_device dice;
    return uint64_t(dice()) << 32 | dice();
  }();
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

TokenShape longest_token(const GroupOptions& o) { return {o.row_bytes_max, o.scales_max, o.top_k_max, true}; }

RankState::RankState(const GroupOptions& given) : id(next_id()), options(given) {
  check_options(options);
  decisions = complete(options);
  ranks = std::make_unique<RankTable>(options.topology.node_sizes);
  map = ranks->seen_by(options.bootstrap.rank);
  placement = std::make_unique<PlacementTable>(options.experts, map.ranks, options.expert_owner);
  experts = placement->view();
  geometry = geometry_of(options, *ranks, *placement);
  const bool network = options.scale_out == ScaleOutChoice::kLibfabric;
  plan_network(!network, network);
  board.up = ScaleUpRegion::plan(geometry, sizeof(Card), grant_bytes());
  check_ring_bytes(board.up.bytes);
  RailEnds ends = rail_ends_of(map);
  rails = std::move(ends.rails);
  sources = std::move(ends.sources);
}

void RankState::plan_network(bool mapped_rails, bool apart) {
  const bool on_gpu = options.device.device_type != kDLCPU;
  geometry.mapped_rails = on_gpu && mapped_rails;
  network_apart = on_gpu && apart;
  board.net = NetworkRegion::plan(geometry, sizeof(Card));
  check_ring_bytes(board.net.bytes);
}

void RankState::choose_rail_batch(bool by_queues) {
  const bool asked = options.rail_batch != 0;
  options.rail_batch = rail_batch_of(options, by_queues);
  decide("rows of a put", std::to_string(options.rail_batch),
         asked       ? "asked for"
         : by_queues ? "an entry of a NIC's queue takes no thread's time"
                     : "a proxy takes time for each command");
}

void RankState::place(Mappings given) {
  TRANSLOAD_CHECK(given.scale_up.size() == map.peers && given.arena != nullptr);
  TRANSLOAD_CHECK(given.mapped.empty() || given.mapped.size() == map.ranks);
  arena = std::move(given.arena);
  for (const Mappings::Peer& peer : given.scale_up) {
    peer_base.push_back(peer.base);
    peer_bytes.push_back(peer.bytes);
  }
  mapped_base = std::move(given.mapped);
  mapped_base.resize(map.ranks);
  board.map = map;
  board.geometry = geometry;
  board.network = given.network;
  board.peer = peer_base.data();
  board.peer_bytes = peer_bytes.data();
  board.mapped = mapped_base.data();
  board.rails = rails.data();
  board.sources = sources.data();
  board.always = &always;
}

uint64_t RankState::scales_bytes() const { return options.tokens_max * longest_token(options).scale_room(); }
uint64_t RankState::headers_bytes() const { return options.tokens_max * longest_token(options).header_bytes(); }

uint64_t RankState::private_bytes() const {
  const RingWords words = ring_words();
  uint64_t positions = 0;  // two for each producer: sent and drained
  for (const RingEnds& ends : {words.dispatch_up, words.dispatch_rail, words.combine_up, words.combine_rail})
    positions += 2 * ends.producers + ends.consumers;
  return scales_bytes() + headers_bytes() + positions * sizeof(Word);
}

RingWords RankState::ring_words() const {
  const uint64_t channels = geometry.channels, dispatch = channels * map.peers * kDispatchStreams,
                 combine = channels * map.peers * map.sources(), nodes = channels * map.nodes,
                 sources = channels * map.sources();
  return {.dispatch_up = {dispatch, dispatch},
          .dispatch_rail = {nodes, sources},
          .combine_up = {combine, combine},
          .combine_rail = {sources, nodes}};
}

uint64_t RankState::grant_bytes() const { return sizeof(Grant) + 8 * map.sources(); }

RegionParts RankState::region_parts(uint32_t rank, uint64_t slab_bytes) const {
  Geometry theirs = geometry;
  theirs.peers = map.node_size(map.node_of[rank]);
  const uint64_t up_bytes = ScaleUpRegion::plan(theirs, sizeof(Card), grant_bytes()).bytes;
  return {network_apart ? 0 : network_bytes(), round_up(up_bytes, kPageBytes),
          round_up_checked(slab_bytes, kPageBytes)};
}

std::vector<uint32_t> RankState::counterparts() const {
  std::vector<uint32_t> others;
  for (const auto* list : {&rails, &sources})
    for (const Counterpart& c : *list)
      if (c.rank != kNobody) others.push_back(c.rank);
  std::sort(others.begin(), others.end());
  others.erase(std::unique(others.begin(), others.end()), others.end());
  return others;
}

std::vector<uint32_t> RankState::neighbours(bool rails_mapped) const {
  std::vector<uint32_t> wanted;
  if (rails_mapped) wanted = counterparts();
  for (uint32_t p = 0; p < map.peers; ++p)
    if (p != map.peer) wanted.push_back(map.peer_rank(p));
  std::sort(wanted.begin(), wanted.end());
  return wanted;
}

void RankState::decide(const std::string& what, const std::string& choice, const std::string& why) {
  for (Decision& d : decisions)
    if (d.what == what) {
      d = {what, choice, why};
      return;
    }
  decisions.push_back({what, choice, why});
}

void RankState::set_fault(const Fault& reported) {
  fault = reported;
  arena->close();
}

Lease RankState::lease(size_t bytes) {
  auto block = arena->take(bytes);
  if (!block && options.device.device_type != kDLCPU) {  // private memory is no place for what a GPU moves
    refuse_if_poisoned();
    throw no_room("a lease", bytes);
  }
  return Lease(block ? block : private_block(bytes));
}

MemoryReport RankState::memory() const {
  const uint64_t rings = board.up.ring_bytes + board.net.ring_bytes;
  return {.ring_bytes = rings,
          .counter_bytes = board.up.bytes + board.net.bytes - rings,
          .slab_bytes = options.slab_bytes,
          .leased_bytes = arena->used(),
          .ring_formula = ring_formula(geometry)};
}

Error RankState::no_room(const char* what, uint64_t bytes) const {
  return {Code::kOutOfMemory, std::string("slab_bytes: no room for ") + what + " of " + std::to_string(bytes) +
                                  " bytes: the longest free stretch has " + std::to_string(arena->longest_gap()) +
                                  "; the group is still usable"};
}

}  // namespace transload
