// What a rail by a proxy costs, beside the same by host threads over the same kind of link in the same run: rows both
// ways at once, and raw writes of as many bytes; rows of host threads while warps poll pinned words; a count there and
// back, commands alone, and a proxy with nothing to do. One JSON line a case.
#include <cuda_runtime.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/proxy_time.h"
#include "cli/link/raw_end.h"
#include "executor/cuda/no_moves.cuh"
#include "executor/cuda/rail_fifo.cuh"
#include "executor/cuda/warp.cuh"
#include "runtime/network/proxy.h"
#include "transport/scaleout/libfabric/link.h"

namespace {

using namespace transload;

constexpr uint32_t kRings = 8, kSlots = 32, kRowBytes = 14336, kBatch = 8, kQueueSlots = 1024, kWarpsOfBlock = 4;
constexpr uint32_t kPollingWarps = 64, kPolledMost = 8;  // words of a warp
constexpr uint64_t kRoundsOfACount = 2000;

void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "bench_proxy: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The network region of a side, alike on both: words, then slots, then what only its own rank uses.
namespace place {
constexpr uint64_t tail(uint32_t ring) { return kWordBytes * ring; }
constexpr uint64_t credit(uint32_t ring) { return kWordBytes * (kRings + ring); }
constexpr uint64_t kPing = kWordBytes * 2 * kRings;
constexpr uint64_t kSend = kWordBytes * (2 * kRings + 1);
constexpr uint64_t kHalf = uint64_t(kRings) * kSlots * kRowBytes;
constexpr uint64_t slot(uint32_t ring, uint64_t row) {
  return kSend + (uint64_t(ring) * kSlots + row % kSlots) * kRowBytes;
}
constexpr uint64_t kNetworkBytes = kSend + 2 * kHalf;
constexpr uint64_t drained(uint32_t ring) { return kNetworkBytes + kWordBytes * ring; }
constexpr uint64_t kTaken = drained(kRings), kQueue = kTaken + kWordBytes;
constexpr uint64_t kPolled = kQueue + kQueueSlots * sizeof(CommandSlot);
constexpr uint64_t polled(uint32_t warp, uint32_t word) { return kPolled + kWordBytes * (warp * kPolledMost + word); }
constexpr uint64_t kBytes = polled(kPollingWarps, 0);
}  // namespace place

TRANSLOAD_HD Word* word_at(char* region, uint64_t offset) { return reinterpret_cast<Word*>(region + offset); }

// What the kernels of a side get.
struct Play {
  CudaRank rank;
  RailQueue queue;
  NearShape near;
  StoreAreas areas;
  char *region, *rows;  // rows: [2 x rings][row] in device memory
  uint32_t other;
  uint64_t count;
  bool first;
};

template <class W>
TRANSLOAD_DEVICE bool await(W& w, const Play& play, uint64_t offset, Word least) {
  auto seen = w.template per<Word>(Set::only(0), [](Lane) { return Word(0); });
  const auto need = [&](Lane) { return Need{word_at(play.region, offset), least, play.other}; };
  return !w.wait_all(Set::only(0), need, seen).empty();
}
template <class W>
TRANSLOAD_DEVICE void publish(W& w, const Play& play, uint64_t offset, Word count) {
  w.publish(Set::only(0), [&](Lane) { return Mark<RailWord>{{offset, play.other}, count}; });
}

template <class W>
TRANSLOAD_DEVICE void send(W& w, const Play& play, uint32_t ring) {
  for (uint64_t row = 0; row < play.count && !w.failed(); ++row) {
    if (row % kBatch == 0 && row + kBatch > kSlots) {
      const Word least = row + kBatch - kSlots;
      if (!await(w, play, place::credit(ring), least) || !await(w, play, place::drained(ring), least)) return;
    }
    char* const slot = play.region + place::slot(ring, row);
    w.scatter({play.rows + ring * kRowBytes, kRowBytes, nullptr, 0}, Set::only(0), [&](Lane) {
      return Destination{slot, nullptr, true};
    });
    w.put(Set::only(0), [&](Lane) {
      return Put{slot,       place::slot(ring, row) + place::kHalf,      kRowBytes,
                 play.other, word_at(play.region, place::drained(ring)), row + 1};
    });
    publish(w, play, place::tail(ring), row + 1);
  }
  await(w, play, place::credit(ring), play.count);
}

template <class W>
TRANSLOAD_DEVICE void receive(W& w, const Play& play, uint32_t ring) {
  for (uint64_t row = 0; row < play.count; ++row) {
    if (row % kBatch == 0 && !await(w, play, place::tail(ring), row + kBatch)) return;
    w.scatter({play.region + place::slot(ring, row) + place::kHalf, kRowBytes, nullptr, 0}, Set::only(0), [&](Lane) {
      return Destination{play.rows + (kRings + ring) * kRowBytes, nullptr, false};
    });
    w.credit(Set::only(0), [&](Lane) { return Mark<RailWord>{{place::credit(ring), play.other}, row + 1}; });
  }
}

template <class Pipe, class Role>
__global__ void __launch_bounds__(kWarpsOfBlock * 32, 1)
    play_kernel(const __grid_constant__ Play play, const __grid_constant__ Role role) {
  extern __shared__ __align__(128) char near[];
  __shared__ StageDesk desks[kWarpsOfBlock];
  const uint32_t warp = threadIdx.x / 32;
  char* const mine = near + warp * play.near.bytes_of_warp();
  CudaRank rank = play.rank;
  rank.areas = &play.areas;
  rank.queue = &play.queue;
  FifoRail::RailHeld held;
  CudaWarp<Pipe, FifoRail> w(
      rank, {Stages(mine, &desks[warp], play.near.stage_bytes), mine + kStages * play.near.stage_bytes, held},
      play.near);
  role(w, play, blockIdx.x * kWarpsOfBlock + warp);
  w.settle();
  w.retire();
}

struct Rows {
  template <class W>
  TRANSLOAD_DEVICE void operator()(W& w, const Play& play, uint32_t warp) const {
    if (warp < kRings)
      send(w, play, warp);
    else
      receive(w, play, warp - kRings);
  }
};
struct Counts {
  template <class W>
  TRANSLOAD_DEVICE void operator()(W& w, const Play& play, uint32_t warp) const {
    if (warp != 0) return;
    for (Word i = 1; i <= play.count && !w.failed(); ++i) {
      if (play.first) publish(w, play, place::kPing, i), w.settle();
      if (!await(w, play, place::kPing, i)) return;
      if (!play.first) publish(w, play, place::kPing, i), w.settle();
    }
  }
};
struct Commands {
  template <class W>
  TRANSLOAD_DEVICE void operator()(W& w, const Play& play, uint32_t warp) const {
    for (Word i = 1; i <= play.count; ++i) publish(w, play, kWordBytes * warp, i), w.settle();
  }
};

// Until each of its words says so.
struct Polls {
  int words;
  template <class W>
  TRANSLOAD_DEVICE void operator()(W& w, const Play& play, uint32_t warp) const {
    const Set all = Set::first(words);
    auto seen = w.template per<Word>(all, [](Lane) { return Word(0); });
    w.wait_all(
        all,
        [&](Lane i) {
          return Need{word_at(play.region, place::polled(warp, i)), 1, play.other};
        },
        seen);
  }
};

// Takes everything and does nothing.
class Nowhere final : public ScaleOut {
 public:
  std::string name() const override { return "nowhere"; }
  char* mapped(uint32_t) const override { return nullptr; }
  void put(const Put&) override {}
  void publish(RailWord, Word) override {}
  bool progress() override { return false; }
  uint32_t busy_with() const override { return kNobody; }
  int wait_fd() const override { return -1; }
  bool arrives_silently() const override { return false; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }
};

struct Page {
  alignas(128) Word abort;
  alignas(128) DeviceFault fault;
  alignas(128) WaitsFor waits_for;
};

// One rank: its memory, stream, link and proxy.
struct Side {
  int device = 0;
  cudaStream_t stream{};
  char *region{}, *rows{}, *words{};
  Page* page{};
  RailQueue queue{};
  std::unique_ptr<ScaleOut> link;
  std::unique_ptr<Proxy> proxy;
};

class Pair {
 public:
  Pair(int gpus, std::string provider) : provider_(std::move(provider)) {
    for (int s = 0; s < 2; ++s) {
      Side& side = sides[s];
      side.device = s % gpus;
      must(cudaSetDevice(side.device), "cudaSetDevice");
      must(cudaStreamCreateWithFlags(&side.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      must(cudaHostAlloc(&side.region, place::kBytes, cudaHostAllocPortable), "cudaHostAlloc");
      must(cudaHostAlloc(&side.page, sizeof(Page), cudaHostAllocPortable), "cudaHostAlloc");
      must(cudaMalloc(&side.rows, uint64_t(2 * kRings) * kRowBytes), "cudaMalloc");
      must(cudaMalloc(&side.words, 2 * kWordBytes), "cudaMalloc");
    }
  }
  Pair(const Pair&) = delete;

  // Zeroed memory and links that know each other; with `proxies`, these too.
  void open(bool proxies, bool nowhere = false) {
    std::vector<std::string> addresses;
    for (uint32_t s = 0; s < 2; ++s) {
      Side& side = sides[s];
      side.proxy.reset();
      side.link.reset();
    }
    for (uint32_t s = 0; s < 2; ++s) {
      Side& side = sides[s];
      must(cudaSetDevice(side.device), "cudaSetDevice");
      std::memset(side.region, 0, place::kBytes);
      std::memset(static_cast<void*>(side.page), 0, sizeof(Page));
      must(cudaMemset(side.words, 0, 2 * kWordBytes), "cudaMemset");
      must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
      side.queue = {.slots = reinterpret_cast<CommandSlot*>(side.region + place::kQueue),
                    .taken = word_at(side.region, place::kTaken),
                    .next = word_at(side.words, 0),
                    .network = side.region,
                    .slot_count = kQueueSlots,
                    .gave_up = word_at(side.words, kWordBytes),
                    .abort = &side.page->abort,
                    .patience_ns = 10'000'000'000};
      if (nowhere) {
        side.link = std::make_unique<Nowhere>();
        continue;
      }
      auto link = std::make_unique<LibfabricLink>(options_of(s));
      addresses.push_back(link->address());
      side.link = std::move(link);
    }
    if (!nowhere)
      for (Side& side : sides) static_cast<LibfabricLink&>(*side.link).connect(addresses);
    if (!proxies) return;
    for (Side& side : sides) {
      side.proxy = std::make_unique<Proxy>(
          *side.link, Proxy::Place{side.region, side.queue, word_at(side.region, place::kTaken)},
          [this] { return naps.load(); },
          [](const std::exception& error) { std::fprintf(stderr, "bench_proxy: %s\n", error.what()); });
      side.proxy->wake();
    }
  }

  LibfabricOptions options_of(uint32_t s) const {
    return {.rank = s,
            .ranks = 2,
            .provider = provider_,
            .source_address = "127.0.0.1",
            .region = sides[s].region,
            .region_bytes = place::kNetworkBytes,
            .counterparts = {1 - s}};
  }

  // Seconds from the launch on `sides_used` sides until all have ended.
  template <class Pipe, class Role>
  double play(const Role& role, uint32_t warps, uint64_t count, int sides_used = 2) {
    const double begin = seconds();
    launch<Pipe>(role, warps, count, sides_used);
    finish(sides_used);
    return seconds() - begin;
  }
  template <class Pipe, class Role>
  void launch(const Role& role, uint32_t warps, uint64_t count, int sides_used) {
    const uint32_t stage = 32 * 1024 / kStages / kLineBytes * kLineBytes;
    for (int s = 0; s < sides_used; ++s) {
      Side& side = sides[s];
      must(cudaSetDevice(side.device), "cudaSetDevice");
      const Play play{.rank = {.gave_up = word_at(side.words, kWordBytes),
                               .abort = &side.page->abort,
                               .fault = &side.page->fault,
                               .waits_for = &side.page->waits_for,
                               .deadline_ns = 10'000'000'000,
                               .areas = nullptr,
                               .queue = nullptr},
                      .queue = side.queue,
                      .near = {stage, stage, 1024, kBatch, kBatch, nullptr},
                      .areas = {},
                      .region = side.region,
                      .rows = side.rows,
                      .other = uint32_t(1 - s),
                      .count = count,
                      .first = s == 0};
      const int near = int(kWarpsOfBlock * play.near.bytes_of_warp());
      const auto kernel = play_kernel<Pipe, Role>;
      must(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, near), "cudaFuncSetAttribute");
      kernel<<<warps / kWarpsOfBlock, kWarpsOfBlock * 32, near, side.stream>>>(play, role);
      must(cudaGetLastError(), "launch");
    }
  }
  void finish(int sides_used) {
    for (int s = 0; s < sides_used; ++s) {
      must(cudaStreamSynchronize(sides[s].stream), "cudaStreamSynchronize");
      if (sides[s].page->fault.set == 0) continue;
      std::fprintf(stderr, "bench_proxy: side %d gave up waiting\n", s);
      std::exit(1);
    }
  }

  // The same on both sides by a host thread each, over their links.
  double by_hosts(const std::function<void(uint32_t side)>& body) {
    const double begin = seconds();
    std::thread other([&] { body(1); });
    body(0);
    other.join();
    return seconds() - begin;
  }

  Side sides[2];
  std::atomic<bool> naps{false};

 private:
  const std::string provider_;
};

Word seen(char* region, uint64_t offset) {
  return std::atomic_ref<Word>(*word_at(region, offset)).load(std::memory_order_acquire);
}

void rows_by_host(Side& side, uint32_t other, uint64_t count) {
  uint64_t sent[kRings] = {}, taken[kRings] = {};
  for (bool open = true; open;) {
    open = !side.link->quiet();
    for (uint32_t ring = 0; ring < kRings; ++ring) {
      const Word credited = seen(side.region, place::credit(ring)), drained = seen(side.region, place::drained(ring));
      if (sent[ring] < count && sent[ring] + kBatch <= std::min(credited, drained) + kSlots) {
        const uint64_t at = place::slot(ring, sent[ring]);
        sent[ring] += kBatch;
        side.link->put({side.region + at, at + place::kHalf, uint64_t(kBatch) * kRowBytes, other,
                        word_at(side.region, place::drained(ring)), sent[ring]});
        side.link->publish({place::tail(ring), other}, sent[ring]);
      }
      if (taken[ring] < count && seen(side.region, place::tail(ring)) >= taken[ring] + kBatch) {
        taken[ring] += kBatch;
        side.link->credit({place::credit(ring), other}, taken[ring]);
      }
      open |= credited < count || taken[ring] < count;
    }
    side.link->progress();
  }
}

void progress(cli::RawEnd& raw) {
  raw.progress();
  if (raw.broken().empty()) return;
  std::fprintf(stderr, "bench_proxy: %s\n", raw.broken().c_str());
  std::exit(1);
}

// As many bytes, in writes as long as the puts are and as many at once; then a word, which comes behind them.
void rows_by_raw_writes(cli::RawEnd& raw, char* region, uint64_t count) {
  const uint64_t puts = kRings * count / kBatch;
  for (uint64_t put = 0; put < puts; progress(raw)) {
    const uint64_t at = place::slot(uint32_t(put % kRings), put / kRings * kBatch);
    if (raw.write(at, at + place::kHalf, uint64_t(kBatch) * kRowBytes)) ++put;
  }
  while (!raw.idle()) progress(raw);
  *word_at(region, place::credit(0)) = 1;
  while (!raw.write(place::credit(0), place::kPing, sizeof(Word))) progress(raw);
  while (!raw.idle() || seen(region, place::kPing) == 0) progress(raw);
}

double seconds_of_raw_writes(Pair& pair, uint64_t count) {
  pair.open(false, true);
  const uint32_t most = kRings * kSlots / kBatch;
  cli::RawEnd one(pair.options_of(0), most), other(pair.options_of(1), most);
  one.reach(1, other.said());
  other.reach(0, one.said());
  return pair.by_hosts([&](uint32_t s) { rows_by_raw_writes(s == 0 ? one : other, pair.sides[s].region, count); });
}

// Of host threads, while warps of each side's GPU poll so many words of pinned memory each.
double seconds_while_polled(Pair& pair, int words, uint64_t count) {
  pair.open(false);
  pair.launch<NoMoves>(Polls{words}, kPollingWarps, 0, 2);
  const double spent = pair.by_hosts([&](uint32_t s) { rows_by_host(pair.sides[s], 1 - s, count); });
  for (Side& side : pair.sides)
    for (uint32_t i = 0; i < kPollingWarps * kPolledMost; ++i)
      std::atomic_ref<Word>(*word_at(side.region, place::polled(0, i))).store(1, std::memory_order_release);
  pair.finish(2);
  return spent;
}

void counts_by_host(Side& side, uint32_t other, bool first) {
  for (Word i = 1; i <= kRoundsOfACount; ++i) {
    if (first) side.link->publish({place::kPing, other}, i);
    while (seen(side.region, place::kPing) < i) side.link->progress();
    if (!first) side.link->publish({place::kPing, other}, i);
  }
  while (!side.link->quiet()) side.link->progress();
}

// Shares of a core that the two proxies take together while no call runs.
double idle_share(Pair& pair, bool naps) {
  pair.naps = naps;
  for (Side& side : pair.sides) side.proxy->rest(side.proxy->wakes());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const uint64_t ran = proxies_ran_ns();
  const double begin = seconds();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  return double(proxies_ran_ns() - ran) * 1e-9 / (seconds() - begin);
}

void say_rate(const char* what, const char* by, double gbps) {
  std::printf("{\"case\":\"%s\",\"method\":\"%s\",\"gb_per_s_each_way\":%.3f}\n", what, by, gbps);
}

void run(Pair& pair, uint64_t rows) {
  const double bytes = double(kRings) * double(rows) * kRowBytes * 1e-9;
  for (int round = 0; round < 3; ++round) {
    pair.open(false);
    say_rate("rows", "host", bytes / pair.by_hosts([&](uint32_t s) { rows_by_host(pair.sides[s], 1 - s, rows); }));
    pair.open(true);
    say_rate("rows", "proxy", bytes / pair.play<ScatterPipe>(Rows(), 2 * kRings, rows));
    say_rate("rows", "raw writes", bytes / seconds_of_raw_writes(pair, rows));
    for (const int words : {1, int(kPolledMost)})
      std::printf(
          "{\"case\":\"rows\",\"method\":\"host\",\"polling_warps\":%u,\"words_of_a_warp\":%d,"
          "\"gb_per_s_each_way\":%.3f}\n",
          kPollingWarps, words, bytes / seconds_while_polled(pair, words, rows));
    pair.open(false);
    const double host = pair.by_hosts([&](uint32_t s) { counts_by_host(pair.sides[s], 1 - s, s == 0); });
    pair.open(true);
    const double proxy = pair.play<NoMoves>(Counts(), kWarpsOfBlock, kRoundsOfACount);
    for (const auto& [by, time] : {std::pair{"host", host}, {"proxy", proxy}})
      std::printf("{\"case\":\"count\",\"method\":\"%s\",\"us_one_way\":%.2f}\n", by,
                  time * 1e6 / (2 * kRoundsOfACount));
    for (const uint32_t warps : {8u, 64u}) {
      pair.open(true, true);
      const uint64_t each = 200'000 / warps;
      std::printf("{\"case\":\"commands\",\"warps\":%u,\"millions_per_s\":%.2f}\n", warps,
                  double(each * warps) * 1e-6 / pair.play<NoMoves>(Commands(), warps, each, 1));
    }
  }
  pair.open(true);
  for (const bool naps : {false, true})
    std::printf("{\"case\":\"idle\",\"graphs\":%s,\"share_of_a_core_for_two\":%.4f}\n", naps ? "true" : "false",
                idle_share(pair, naps));
}

}  // namespace

int main(int count, char** arguments) {
  int gpus = 1;
  uint64_t rows = 2000;
  std::string provider = "tcp;ofi_rxm";
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i];
    if (name == "--gpus") gpus = std::atoi(arguments[i + 1]);
    if (name == "--provider") provider = arguments[i + 1];
    if (name == "--rows") rows = std::strtoull(arguments[i + 1], nullptr, 10);
  }
  if (count % 2 == 0 || gpus < 1 || gpus > 2 || rows == 0 || rows % kBatch != 0) {
    std::fprintf(stderr, "bench_proxy [--gpus 1|2] [--provider NAME] [--rows N, a multiple of %u]\n", kBatch);
    return 2;
  }
  try {
    Pair pair(gpus, provider);
    run(pair, rows);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_proxy: %s\n", error.what());
    return 1;
  }
}
