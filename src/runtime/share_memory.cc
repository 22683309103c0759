// How the ranks of a group come to each other's memory: who may be there, what each offers, and one culprit if it
// fails.
#include <new>

#include "base/malformed.h"
#include "os/clock.h"
#include "runtime/group_impl.h"
#include "transport/scaleout/nvshmem/world.h"
#include "transport/scaleup/neighbours.h"

namespace transload {

namespace {

// Throws if ranks that must share memory cannot. Every rank looks at all ranks, so all throw the same.
void check_places(const RankState& state, const std::vector<RegionOffer>& offers, bool rails_mapped) {
  const RankMap& map = state.map;
  for (uint32_t r = 0; r < map.ranks; ++r) {
    const uint32_t first = map.node_begin[map.node_of[r]];
    const uint32_t other = rails_mapped ? 0 : first;
    const std::string both = "ranks " + std::to_string(other) + " and " + std::to_string(r) + " are ";
    const std::string apart = how_apart(offers[other].host, offers[r].host);
    if (!apart.empty())
      throw Error(Code::kInvalidArgument, "topology: " + both + (other == first ? "in one node but " : "") + apart +
                                              ", must be on one host and in one network namespace: they share memory");
    if (offers[other].user != offers[r].user)
      throw Error(Code::kInvalidArgument, "group: " + both + "processes of users " +
                                              std::to_string(offers[other].user) + " and " +
                                              std::to_string(offers[r].user) + ", must be of one: they share memory");
  }
}

void check_parts(const RankState& state, const std::vector<RegionOffer>& offers) {
  for (uint32_t r = 0; r < state.map.ranks; ++r) {
    const RegionParts mine = state.region_parts(r, offers[r].parts.slab_bytes), &theirs = offers[r].parts;
    const auto check = [&](const char* what, uint64_t expected, uint64_t seen) {
      if (seen != expected)
        throw Error(Code::kInvalidArgument, "group: rank " + std::to_string(r) + " offers " + std::to_string(seen) +
                                                " bytes of " + what + ", must be " + std::to_string(expected) +
                                                kOtherVersion);
    };
    check("network region", mine.network_bytes, theirs.network_bytes);
    check("scale-up region", mine.scale_up_bytes, theirs.scale_up_bytes);
    check("memory in all", mine.bytes(), offers[r].bytes);
  }
}

}  // namespace

Mappings mappings_of(const RankState& state, const MappedMemory& memory) {
  const RankMap& map = state.map;
  const RegionParts parts = state.region_parts(map.me, state.options.slab_bytes);
  const Region& mine = *memory.region;
  Mappings all;
  all.network = memory.network;
  for (uint32_t p = 0; p < map.peers; ++p) {
    const uint32_t rank = map.peer_rank(p);
    char* const base = p == map.peer ? mine.base() : memory.neighbours.base(rank);
    const uint64_t bytes = p == map.peer ? mine.bytes() : memory.neighbours.bytes(rank);
    all.scale_up.push_back({base + parts.network_bytes, bytes - parts.network_bytes});
  }
  all.mapped.resize(map.ranks);
  if (memory.rails_mapped)
    for (const uint32_t r : state.counterparts())
      all.mapped[r] = memory.heap != nullptr ? memory.heap->mapped()[r] : memory.neighbours.base(r);
  all.arena = std::make_shared<Arena>(mine.base() + parts.network_bytes + parts.scale_up_bytes,
                                      state.options.slab_bytes, memory.region);
  return all;
}

std::unique_ptr<Neighbours> Group::Impl::share_memory(std::shared_ptr<Region> region, int bell_fd, bool rails_mapped) {
  const RankState& own = state();
  std::unique_ptr<Neighbours> neighbours;
  all_or_none([&] { neighbours = std::make_unique<Neighbours>(own.map.me, std::move(region), bell_fd); });
  RegionOffer mine = neighbours->offer();
  mine.parts = own.region_parts(own.map.me, own.options.slab_bytes);
  const std::vector<RegionOffer> offers = gather(mine.pack(), RegionOffer::unpack);
  check_places(own, offers, rails_mapped);
  check_parts(own, offers);
  connect(*neighbours, offers, own.neighbours(rails_mapped));
  return neighbours;
}

// A fault goes to the arbiter, so that all name the same culprit.
void Group::Impl::connect(Neighbours& neighbours, const std::vector<RegionOffer>& offers,
                          const std::vector<uint32_t>& wanted) {
  const uint32_t me = state().map.me;
  const uint64_t entered = now_ns();
  uint64_t since = entered;
  const auto suspect = [&](uint32_t rank) {
    if (control->suspect({.rank = me, .epoch = 0, .whom = rank, .seen = 0, .expected = 1}, since)) return true;
    since = now_ns();
    return false;
  };
  const ExchangeWatch watch{suspect, [&] {
                              control->heed_interrupt();
                              return control->abort_word().load(std::memory_order_acquire) != 0;
                            }};
  try {
    neighbours.connect(offers, wanted, state().options.create_deadline_ms, watch);
  } catch (const std::bad_alloc&) {
    control->failed("out of memory");
    throw;
  } catch (const Error& error) {
    if (error.code() != Code::kFault) {
      control->failed(error.what());
      throw;
    }
    const Fault fault = error.fault();
    if (fault.kind == FaultKind::kMismatch)
      control->mismatch(fault.culprit_rank, fault.detail, true);
    else if (fault.kind == FaultKind::kLost)
      control->accuse({.rank = me, .epoch = 0, .whom = fault.culprit_rank, .seen = 0, .expected = 1}, since);
    Fault judged = control->fault(control->verdict(), "create", entered);
    judged.waiting_for = fault.waiting_for;
    throw Error(judged);
  }
}

}  // namespace transload
