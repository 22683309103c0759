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
    : core_(given, *this), options_(core_.options), map_(core_.map), call_since_(now_ns()) {
  meet();
  const auto [network, maps_rails] = choose_scale_out(*this);
  if (network != nullptr && network->place != nullptr) heap_ = network->place(*this, kOnHost);
  map_memory(network != nullptr && maps_rails);
  if (network != nullptr) connect_nodes(*network);
  all_or_none([&] {
    make_executor();
    if (scale_out_ && scale_out_->needs_a_hand()) hand_ = std::make_unique<Hand>(*scale_out_);
  });
  if (heap_) heap_->begin();
  last_call_ = std::make_unique<LastCall>(core_.common_id, map_.me);
  core_.try_paths();
  control->gather("ready");
}

void HostGroup::connect_nodes(const ScaleOutKind& network) {
  scale_out_ = network.make(*this, {core_.board.network, core_.network_bytes(), &core_.mapped_base});
  for (uint32_t r = 0; r < map_.ranks; ++r) core_.mapped_base[r] = scale_out_->mapped(r);
  if (scale_out_->frees_by_credits()) core_.free_by_credits();
}

void HostGroup::map_memory(bool rails_mapped) {
  const uint64_t bytes = core_.region_parts(map_.me, options_.slab_bytes).bytes();
  const uint64_t with_private = bytes + core_.private_bytes();
  const uint64_t host_bytes = sum_on_host(with_private);
  all_or_none([&] {
    promise_ = Promise({core_.common_id, host_bytes, with_private});
    region_ = std::make_shared<SharedRegion>(bytes);
    core_.reserve();
    promise_.lies_at(region_->base(), bytes);
    promise_.lies_at(core_.scales.get(), core_.scales_bytes());
    promise_.lies_at(core_.headers.get(), core_.headers_bytes());
    bell_fd_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell_fd_)
      throw Error(Code::kOutOfMemory, "group: the eventfd that wakes its rank cannot be made: " + text_of_error(errno));
  });
  neighbours_ = share_memory(region_, bell_fd_.get(), rails_mapped);
  core_.place(mappings_of(core_, {.region = region_,
                                  .neighbours = *neighbours_,
                                  .network = heap_ ? heap_->base() : region_->base(),
                                  .rails_mapped = rails_mapped,
                                  .heap = heap_.get()}));
  core_.decide("scale-up", map_.peers > 1 ? "shm" : "none", "ranks of one node share memory");
}

void HostGroup::make_executor() {
  auto asleep = [&](char* network) {
    return reinterpret_cast<std::atomic<uint32_t>*>(network + core_.board.net.asleep.at(0));
  };
  HostMemoryOptions o;
  o.rank = map_.me;
  o.bell = Bell{asleep(region_->base()), bell_fd_.get()};
  o.bells.resize(map_.ranks);
  for (uint32_t r = 0; r < map_.ranks; ++r)
    if (char* const base = r == map_.me ? nullptr : neighbours_->base(r))
      o.bells[r] = Bell{asleep(base), neighbours_->bell_fd(r)};
  o.scale_out = scale_out_.get();
  o.abort = &control->abort_word();
  o.deadline_ms = options_.create_deadline_ms;  // until the first call, because each call sets its own
  o.progress = options_.progress;
  o.on_expired = [this](const WaitRecord& w) {
    const uint64_t waited = uint64_t(host_memory_->options().deadline_ms) * kMillisecondNs + w.overdue_ns;
    const bool accused = control->suspect({.rank = map_.me,
                                           .epoch = core_.epoch,
                                           .whom = w.whom,
                                           .seen = w.seen,
                                           .expected = w.expected,
                                           .waited = 0,
                                           .overdue = w.overdue_ns},
                                          now_ns() - waited);
    suspected_ |= accused;
    return accused;
  };
  o.on_withdrawn = [this] { control->withdraw(); };
  o.on_idle = [this](const WaitRecord& w) {
    control->note(core_.epoch, core_.phase, w.present, w.present ? w.whom : kNobody);
    control->heed_interrupt();
    if (core_.epoch == 0) heed_lack(scale_out_.get(), w.waited_ms);
  };
  o.on_broken = [this](const BrokenRecord& b) { control->mismatch(b.rank, text_of(b, map_.me), of_one_rank(b)); };
  host_memory_ = std::make_unique<HostMemory>(o);
  SchedulerOptions s;
  s.fibers_max = core_.warps_max();
  s.near_bytes = core_.near_bytes();
  s.linger_us = options_.linger_us;
  scheduler_ = std::make_unique<Scheduler>(*host_memory_, s);
  bell_on_verdict_ = OnVerdict(*control, [bell = o.bell] {
    Bell::fence();
    bell.ring();
  });
}

std::unique_ptr<Group::Impl> make_host_group(const GroupOptions& options) {
  return std::make_unique<HostGroup>(options);
}

}  // namespace transload
