// Rung 12 on GPUs: rows along rails that are not mapped, by the proxies of both sides, and a proxy that stands still.
#pragma once
#include <chrono>
#include <memory>
#include <thread>

#include "runtime/network/proxy.h"
#include "tests/gpu/ladder_ends.cuh"
#include "tests/ladder/rungs/rails.h"
#include "tests/support/step_network.h"

namespace transload::gpu {

// What a side has in pinned memory: its network region, and what its proxy and its warps tell each other.
struct RailRegion {
  static constexpr uint32_t kQueueSlots = 8;  // few, so that they are full at times
  uint64_t slots;
  uint32_t row_bytes;
  int rings;  // each way

  TRANSLOAD_HD uint64_t ring_bytes() const { return slots * row_bytes; }
  TRANSLOAD_HD static uint64_t word(uint64_t i) { return kWordBytes * i; }
  TRANSLOAD_HD uint64_t tail(int ring) const { return word(uint64_t(ring)); }
  TRANSLOAD_HD uint64_t credit(int ring) const { return word(uint64_t(rings + ring)); }
  TRANSLOAD_HD uint64_t drained(int ring) const { return word(uint64_t(2 * rings + ring)); }
  TRANSLOAD_HD uint64_t staged(int ring) const { return word(uint64_t(3 * rings)) + uint64_t(ring) * ring_bytes(); }
  TRANSLOAD_HD uint64_t ring(int ring) const { return staged(rings + ring); }
  uint64_t taken() const { return ring(rings); }
  uint64_t queue() const { return taken() + kWordBytes; }
  uint64_t bytes() const { return queue() + kQueueSlots * sizeof(CommandSlot); }
};

// Each side sends by its first agents and takes by the others.
struct RailsRung {
  RailRegion place;
  char* regions[2];
  uint64_t rows;

  TRANSLOAD_HD static Word* at(char* region, uint64_t offset) { return reinterpret_cast<Word*>(region + offset); }

  template <class A>
  TRANSLOAD_DEVICE void operator()(A& a) const {
    const bool sends = a.number < place.rings;
    const int ring = a.number % place.rings, sender = sends ? a.side : 1 - a.side;
    char *const from = regions[sender], *const to = regions[1 - sender];
    const rungs::RailStream s{.slots = place.slots,
                              .rows = rows,
                              .row_bytes = place.row_bytes,
                              .sender = uint32_t(sender),
                              .receiver = uint32_t(1 - sender),
                              .source = a.own(uint64_t(ring) * place.ring_bytes(), place.ring_bytes()),
                              .staged = from + place.staged(ring),
                              .ring = to + place.ring(ring),
                              .ring_offset = place.ring(ring),
                              .drained = at(from, place.drained(ring)),
                              .credit = at(from, place.credit(ring)),
                              .tail = at(to, place.tail(ring)),
                              .credit_offset = place.credit(ring),
                              .tail_offset = place.tail(ring)};
    if (sends)
      put_rows(a, s);
    else
      take_rows(a, s);
  }
};

// The network of two sides: pinned regions, and queues that proxies take from once there are some.
class RailSides {
 public:
  RailSides(Stage& stage, const RailRegion& place) : stage_(stage), place_(place) {
    for (int s = 0; s < 2; ++s) {
      stage.use(s);
      must(cudaHostAlloc(&regions_[s], place.bytes(), cudaHostAllocPortable), "cudaHostAlloc");
      must(cudaMalloc(&next_[s], kWordBytes), "cudaMalloc");
      must(cudaMemset(next_[s], 0, kWordBytes), "cudaMemset");
      must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
      std::memset(regions_[s], 0, place.bytes());
    }
  }
  ~RailSides() {
    for (int s = 0; s < 2; ++s) {
      proxies_[s].reset();
      must(cudaFreeHost(regions_[s]), "cudaFreeHost");
      must(cudaFree(next_[s]), "cudaFree");
    }
  }
  RailSides(const RailSides&) = delete;

  char* region(int side) const { return regions_[side]; }
  Word word(int side, uint64_t offset) const {
    return __atomic_load_n(RailsRung::at(regions_[side], offset), __ATOMIC_ACQUIRE);
  }
  RailQueue queue(int side, uint64_t patience_ns) const {
    return {.slots = reinterpret_cast<CommandSlot*>(regions_[side] + place_.queue()),
            .taken = RailsRung::at(regions_[side], place_.taken()),
            .next = next_[side],
            .network = regions_[side],
            .slot_count = RailRegion::kQueueSlots,
            .gave_up = stage_.gave_up(side),
            .abort = &stage_.page(side).abort,
            .patience_ns = patience_ns};
  }
  void start_proxies() {
    for (int s = 0; s < 2; ++s) {
      links_[s] = std::make_unique<test::StepNetwork>(std::vector<char*>{regions_[0], regions_[1]});
      const Proxy::Place place{regions_[s], queue(s, 0), RailsRung::at(regions_[s], place_.taken())};
      proxies_[s] = std::make_unique<Proxy>(
          *links_[s], place, [] { return true; },
          [](const std::exception& error) {
            std::printf("a proxy: %s\n", error.what());
            std::exit(1);
          });
      proxies_[s]->wake();
    }
  }
  // Until all that kernels asked for has been done.
  void finish() {
    for (int s = 0; s < 2; ++s) {
      Word asked = 0;
      must(cudaMemcpy(&asked, next_[s], sizeof(asked), cudaMemcpyDefault), "cudaMemcpy");
      for (int i = 0; i < 20000 && (proxies_[s]->taken() < asked || !proxies_[s]->quiet()); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      stage_.ledger.eq(proxies_[s]->taken(), asked, "commands that the proxy of a side took");
    }
  }

 private:
  Stage& stage_;
  const RailRegion place_;
  char* regions_[2];
  Word* next_[2];
  std::unique_ptr<test::StepNetwork> links_[2];
  std::unique_ptr<Proxy> proxies_[2];
};

inline Setting setting_of(const RailSides& sides, const RailRegion& place, uint64_t patience_ns) {
  Setting setting;
  for (int s = 0; s < 2; ++s) {
    setting.own[s] = {sides.region(s), place.bytes()};
    setting.queues[s] = sides.queue(s, patience_ns);
  }
  return setting;
}

inline void rails_rung(Stage& stage) {
  for (uint64_t slots : {1, 3, 16}) {
    for (uint32_t every : {1, 4, 100}) {
      for (uint32_t row_bytes : {128, 14336}) {
        stage.clear();
        const RailRegion place{slots, row_bytes, 3};
        const uint64_t rows = row_bytes == 128 ? 500 : 100;
        RailSides sides(stage, place);
        sides.start_proxies();
        Setting setting = setting_of(sides, place, 10'000'000'000);
        setting.publish_every = setting.credit_every = every;
        const RailsRung rung{place, {sides.region(0), sides.region(1)}, rows};
        stage.play<ScatterPipe, FifoRail>(rung, {2 * place.rings, 2 * place.rings}, setting);
        if (stage.ledger.wrong != 0 && !stage.ledger.spoil) return;  // what follows would wait for its deadlines
        sides.finish();
        for (int s = 0; s < 2; ++s)
          for (int ring = 0; ring < place.rings; ++ring) {
            stage.ledger.eq(sides.word(s, place.tail(ring)), rows, "rows that a side was told of");
            stage.ledger.eq(sides.word(s, place.credit(ring)), rows, "rows that a side was credited");
            stage.ledger.eq(sides.word(s, place.drained(ring)), rows, "rows whose put was read");
          }
      }
    }
  }
}

// Nobody takes the commands of side 0: who waits for room accuses its own rank, whose proxy it is.
struct StillProxyRung {
  RailsRung rows;
  template <class A>
  TRANSLOAD_DEVICE void operator()(A& a) const {
    a.w.enter(Role::kSender, 4);
    rows(a);
    a.tally.eq(a.w.failed(), true, __LINE__);
  }
};
inline void still_proxy_rung(Stage& stage) {
  constexpr Word kMe = 30;
  stage.clear();
  const RailRegion place{64, 128, 1};
  RailSides sides(stage, place);
  stage.page(0).fault.rank = kMe;
  Setting setting = setting_of(sides, place, rungs::kSoonNs);
  setting.publish_every = 1;
  const RailsRung rung{place, {sides.region(0), sides.region(1)}, 64};
  stage.start<ScatterPipe, FifoRail>(StillProxyRung{rung}, {1, 0}, setting);
  stage.finish();
  const DeviceFault& fault = stage.page(0).fault;
  rungs::Ledger& ledger = stage.ledger;
  ledger.eq(fault.set, Word(DeviceFailure::kExpired), "the failure");
  ledger.eq(fault.role, Word(Role::kSender), "the role");
  ledger.eq(fault.channel, 4, "the channel");
  ledger.eq(fault.what, Word(Waiting::kRoom), "what was waited for");
  ledger.eq(fault.whom, kMe, "whose proxy it is");
  ledger.eq(fault.seen, 0, "commands taken");
  ledger.eq(fault.expected, 1, "commands that must be");
}

}  // namespace transload::gpu
