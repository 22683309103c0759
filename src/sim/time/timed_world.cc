// Making a world with time, and the calls in it.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>

#include "base/check.h"
#include "base/math.h"
#include "runtime/group_options.h"
#include "sim/model/chance.h"
#include "sim/time/timed_rank.h"

namespace transload {
namespace {

constexpr uint32_t kScaleElements = 128;  // elements of an fp8 row that share a scale

// Address space whose pages take memory only once they are touched.
class Reserved {
 public:
  explicit Reserved(uint64_t bytes, int access = PROT_READ | PROT_WRITE) : bytes_(bytes) {
    void* const at = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
      throw Error(Code::kOutOfMemory, "regions of all ranks need " + std::to_string(bytes) + " bytes of address space");
    at_ = static_cast<char*>(at);
  }
  ~Reserved() { munmap(at_, bytes_); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  char* at() const { return at_; }

 private:
  char* at_;
  const uint64_t bytes_;
};

struct RoutesOfRank {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

uint32_t scales_of(const TimedJob& job) { return job.fp8 ? uint32_t(ceil_div(job.hidden, kScaleElements)) : 0; }

// The options of any rank, without its number and its slabs.
GroupOptions group_options(const TimedMachine& m, const TimedJob& job) {
  GroupOptions o;
  o.bootstrap.ranks = m.nodes * m.gpus;
  o.topology.node_sizes.assign(m.nodes, m.gpus);
  o.experts = job.experts;
  o.tokens_max = job.tokens;
  o.row_bytes_max = uint64_t(job.hidden) * 2;
  o.scales_max = scales_of(job);
  o.top_k_max = job.top_k;
  o.sms = m.sms;
  o.channels = job.channels;
  o.slots = job.slots;
  o.rail_batch = job.batch;
  return o;
}

class TimedWorld {
 public:
  TimedWorld(const TimedMachine& machine, const TimedJob& job);
  std::vector<TimedCall> run();

 private:
  uint32_t ranks() const { return m_.nodes * m_.gpus; }
  uint64_t row_bytes() const { return uint64_t(job_.hidden) * (job_.fp8 ? 1 : 2); }
  uint32_t scales() const { return scales_of(job_); }
  GroupOptions options_of(uint32_t rank) const;
  void draw_routes();
  uint64_t most_rows() const;
  void make_ranks();
  void all_ranks(const std::function<void(uint32_t)>& call);
  TimedCall timed(const char* name, const std::function<uint64_t(uint32_t)>& call);
  DispatchOutputs dispatch(uint32_t rank, const Handle& handle);
  CombineOutputs combine(uint32_t rank);

  const TimedMachine m_;
  const TimedJob job_;
  uint64_t slab_bytes_ = 0;
  std::vector<RoutesOfRank> routes_;
  std::vector<uint32_t> scales_;
  std::unique_ptr<Reserved> regions_, rows_;
  Timeline timeline_;
  Seeded seeded_;
  ModelLinks links_;
  WordWaits waits_{seeded_};
  PortTimes times_;
  Traffic traffic_;
  std::vector<std::unique_ptr<TimedRank>> ranks_;
  std::vector<Handle> handles_;
  std::vector<Lease> leases_;
};

ModelLinks::Network network_of(const TimedMachine& m) {
  return {.ranks = m.nodes * m.gpus,
          .scale_up = {.latency_ns = m.scale_up_latency_ns, .bandwidth_gb_s = m.scale_up_gb_s},
          .scale_out = {.latency_ns = m.latency_ns,
                        .bandwidth_gb_s = m.wire_gb_s * m.wire_rows,
                        .message_ns = m.message_ns},
          .draw = nullptr,
          .from = nullptr};
}

TimedWorld::TimedWorld(const TimedMachine& machine, const TimedJob& job)
    : m_(machine),
      job_(job),
      links_(network_of(machine)),
      times_(ranks(), &timeline_.clock()),
      traffic_({.timeline = &timeline_,
                .links = &links_,
                .waits = &waits_,
                .times = &times_,
                .machine = &m_,
                .ranks = ranks()}) {
  draw_routes();
  make_ranks();
}

GroupOptions TimedWorld::options_of(uint32_t rank) const {
  GroupOptions o = group_options(m_, job_);
  o.bootstrap.rank = rank;
  o.slab_bytes = slab_bytes_;
  return o;
}

void TimedWorld::draw_routes() {
  Chance chance(job_.seed);
  routes_.resize(ranks());
  for (RoutesOfRank& of : routes_) {
    of.weights.assign(size_t(job_.tokens) * job_.top_k, 1.0f / float(job_.top_k));
    for (uint32_t t = 0; t < job_.tokens; ++t)
      for (uint32_t k = 0; k < job_.top_k;) {
        const int32_t id = int32_t(chance.below(job_.experts));
        if (std::find(of.ids.end() - k, of.ids.end(), id) != of.ids.end()) continue;
        of.ids.push_back(id);
        ++k;
      }
  }
  scales_.assign(size_t(job_.tokens) * scales(), 0);
}

// The most rows that come to any rank.
uint64_t TimedWorld::most_rows() const {
  const PlacementTable placement(job_.experts, ranks(), {});
  std::vector<uint64_t> rows(ranks()), last(ranks());
  uint64_t token = 0;
  for (const RoutesOfRank& of : routes_)
    for (size_t i = 0; i < of.ids.size(); ++i) {
      token += i % job_.top_k == 0;
      const uint32_t owner = placement.view().owner[of.ids[i]];
      if (last[owner] != token) ++rows[owner];
      last[owner] = token;
    }
  return *std::max_element(rows.begin(), rows.end());
}

void TimedWorld::make_ranks() {
  const SlabUse use{.rows = int64_t(most_rows()), .tokens = -1, .dispatches = 2, .expert_rows = 1, .combines = 1};
  slab_bytes_ = round_up(slab_bytes_needed(options_of(0), use), kPageBytes);
  TimedShared shared{.seeded = &seeded_,
                     .timeline = &timeline_,
                     .links = &links_,
                     .waits = &waits_,
                     .traffic = &traffic_,
                     .times = &times_,
                     .machine = &m_,
                     .ranks = ranks(),
                     .batch = job_.batch,
                     .credit_every = credit_every(job_.slots),
                     .regions = nullptr,
                     .region_bytes = 0};
  const RankState rank(options_of(0));
  shared.region_bytes = rank.network_bytes() + rank.scale_up_bytes() + slab_bytes_;
  regions_ = std::make_unique<Reserved>(ranks() * shared.region_bytes);
  rows_ = std::make_unique<Reserved>(job_.tokens * row_bytes(), PROT_NONE);  // no row is ever read
  shared.regions = regions_->at();
  for (uint32_t r = 0; r < ranks(); ++r) {
    ranks_.push_back(std::make_unique<TimedRank>(shared, options_of(r)));
    ranks_[r]->core.common_id = ranks_[0]->core.id;
    ranks_[r]->place();
  }
  const HostCalls<TimedWarp>& core = ranks_[0]->core;
  const uint32_t needs = std::max(
      {core.map.peers * core.map.sources(), 2 * core.map.peers, core.map.nodes, core.map.ranks, uint32_t(kSetMax)});
  seeded_.reset({int(ranks()) * (core.warps_max() + 1), size_t(core.near_bytes()), needs}, &timeline_.clock());
  handles_.resize(ranks());
  leases_.resize(ranks());
}

// Every rank begins the call now. Returns when all have ended.
void TimedWorld::all_ranks(const std::function<void(uint32_t)>& call) {
  for (uint32_t r = 0; r < ranks(); ++r) seeded_.start({r, r}, [&call, r](int, NearMemory) { call(r); });
  for (;;) {
    while (seeded_.ready() > 0) seeded_.run(0);
    if (seeded_.live() == 0) return;
    TRANSLOAD_CHECK(timeline_.next() != Timeline::kNever);  // otherwise all fibers wait for ever
    timeline_.advance_to(timeline_.next());
    timeline_.run_due();
  }
}

DispatchOutputs TimedWorld::dispatch(uint32_t rank, const Handle& handle) {
  DispatchInputs in;
  in.x = matrix(rows_->at(), job_.tokens, job_.hidden, job_.fp8 ? kF8E4m3 : kBf16);
  if (job_.fp8) in.scales = matrix(scales_.data(), job_.tokens, scales(), kF32);
  in.landing = Landing::kDirect;
  if (handle) {
    in.handle = handle;
  } else {
    in.topk_idx = matrix(routes_[rank].ids.data(), job_.tokens, job_.top_k, kI32);
    in.topk_weights = matrix(routes_[rank].weights.data(), job_.tokens, job_.top_k, kF32);
  }
  return ranks_[rank]->core.dispatch(in);
}

CombineOutputs TimedWorld::combine(uint32_t rank) {
  CombineInputs in;
  in.x = matrix(leases_[rank].data(), int64_t(leases_[rank].bytes() / (job_.hidden * 2)), job_.hidden, kBf16);
  in.handle = handles_[rank];
  in.source = CombineSource::kPull;
  return ranks_[rank]->core.combine(in);
}

TimedCall TimedWorld::timed(const char* name, const std::function<uint64_t(uint32_t)>& call) {
  const uint64_t began = timeline_.now(), bytes = traffic_.put_bytes();
  TimedCall out;
  times_.begin();
  all_ranks([&](uint32_t rank) { out.rail_rows += call(rank); });
  out.name = name;
  out.ns = timeline_.now() - began;
  out.port = times_.end();
  out.rail_bytes = traffic_.put_bytes() - bytes;
  out.share = double(out.rail_bytes) / (double(out.ns) * m_.wire_gb_s * ranks());
  return out;
}

std::vector<TimedCall> TimedWorld::run() {
  std::vector<int64_t> rows(ranks());
  all_ranks([&](uint32_t rank) {
    const DispatchOutputs first = dispatch(rank, nullptr);
    handles_[rank] = first.handle;
    rows[rank] = first.rows;
  });
  std::vector<TimedCall> calls;
  calls.push_back(timed("dispatch, cached",
                        [&](uint32_t rank) { return uint64_t(dispatch(rank, handles_[rank]).scale_out_rows); }));
  for (uint32_t r = 0; r < ranks(); ++r) leases_[r] = ranks_[r]->core.lease(size_t(rows[r]) * job_.hidden * 2);
  calls.push_back(timed("combine", [&](uint32_t rank) { return uint64_t(combine(rank).scale_out_rows); }));
  return calls;
}

}  // namespace

TimedJob with_choices(const TimedMachine& machine, const TimedJob& job) {
  GroupOptions options = group_options(machine, job);
  options.device = {kDLCUDA, 0};
  complete(options);
  TimedJob out = job;
  out.channels = options.channels;
  out.slots = options.slots;
  out.batch = rail_batch_of(options, machine.rails == RailMode::kQueues);
  return out;
}

std::vector<TimedCall> run_timed(const TimedMachine& machine, const TimedJob& job) {
  return TimedWorld(machine, with_choices(machine, job)).run();
}

}  // namespace transload
