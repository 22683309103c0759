// Making a group on the host: who is there, where memory lies, which way the network goes, and one word over every
// path.
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>

#include "control/fault.h"
#include "os/clock.h"
#include "os/free_memory.h"
#include "os/host.h"
#include "runtime/host/host_group.h"
#include "runtime/network/scale_out_kinds.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/shm/shared_region.h"

namespace transload {

static constexpr HeapHome kOnHost{.device = -1,
                                  .there = [](int, const std::function<void()>& step) { step(); },
                                  .zero = [](int, char* at, uint64_t bytes) { std::memset(at, 0, bytes); }};

HostGroup::HostGroup(const GroupOptions& given)
    : core(given, *this), options(core.options), map(core.map), call_since(now_ns()) {
  meet();
  const auto [network, maps_rails] = choose_scale_out(*this);
  if (network != nullptr && network->place != nullptr) heap = network->place(*this, kOnHost);
  map_memory(network != nullptr && maps_rails);
  if (network != nullptr) connect_nodes(*network);
  all_or_none([&] {
    make_executor();
    if (scale_out && scale_out->needs_a_hand()) hand = std::make_unique<Hand>(*scale_out);
  });
  if (heap) heap->begin();
  last_call = std::make_unique<LastCall>(core.common_id, map.me);
  core.try_paths();
  control->gather("ready");
}

void HostGroup::connect_nodes(const ScaleOutKind& network) {
  scale_out = network.make(*this, {core.board.network, core.network_bytes(), &core.mapped_base});
  for (uint32_t r = 0; r < map.ranks; ++r) core.mapped_base[r] = scale_out->mapped(r);
  if (scale_out->frees_by_credits()) core.free_by_credits();
}

void HostGroup::map_memory(bool rails_mapped) {
  const uint64_t bytes = core.region_parts(map.me, options.slab_bytes).bytes();
  const uint64_t with_private = bytes + core.private_bytes();
  const uint64_t host_bytes = sum_on_host(with_private);
  all_or_none([&] {
    promise = Promise({core.common_id, host_bytes, with_private});
    region = std::make_shared<SharedRegion>(bytes);
    core.reserve();
    promise.lies_at(region->base(), bytes);
    promise.lies_at(core.scales.get(), core.scales_bytes());
    promise.lies_at(core.headers.get(), core.headers_bytes());
    bell_fd = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell_fd)
      throw Error(Code::kOutOfMemory, "group: the eventfd that wakes its rank cannot be made: " + text_of_error(errno));
  });
  neighbours = share_memory(region, bell_fd.get(), rails_mapped);
  core.place(mappings_of(core, {.region = region,
                                .neighbours = *neighbours,
                                .network = heap ? heap->base() : region->base(),
                                .rails_mapped = rails_mapped,
                                .heap = heap.get()}));
  core.decide("scale-up", map.peers > 1 ? "shm" : "none", "ranks of one node share memory");
}

void HostGroup::make_executor() {
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
  o.deadline_ms = options.create_deadline_ms;  // until the first call: each sets its own
  o.progress = options.progress;
  o.on_expired = [this](const WaitRecord& w) {
    const uint64_t waited = uint64_t(host_memory->options().deadline_ms) * kMillisecondNs + w.overdue_ns;
    const bool accused = control->suspect({.rank = map.me,
                                           .epoch = core.epoch,
                                           .whom = w.whom,
                                           .seen = w.seen,
                                           .expected = w.expected,
                                           .waited = 0,
                                           .overdue = w.overdue_ns},
                                          now_ns() - waited);
    suspected |= accused;
    return accused;
  };
  o.on_withdrawn = [this] { control->withdraw(); };
  o.on_idle = [this](const WaitRecord& w) {
    control->note(core.epoch, core.phase, w.present, w.present ? w.whom : kNobody);
    control->heed_interrupt();
    if (core.epoch == 0) heed_lack(scale_out.get(), w.waited_ms);
  };
  o.on_broken = [this](const BrokenRecord& b) { control->mismatch(b.rank, text_of(b, map.me), of_one_rank(b)); };
  host_memory = std::make_unique<HostMemory>(o);
  SchedulerOptions s;
  s.fibers_max = core.warps_max();
  s.near_bytes = core.near_bytes();
  s.linger_us = options.linger_us;
  scheduler = std::make_unique<Scheduler>(*host_memory, s);
  bell_on_verdict = OnVerdict(*control, [bell = o.bell] {
    Bell::fence();
    bell.ring();
  });
}

std::unique_ptr<Group::Impl> make_host_group(const GroupOptions& options) {
  return std::make_unique<HostGroup>(options);
}

}  // namespace transload
