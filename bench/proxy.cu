// What a rail by a proxy costs, beside what host threads do over the same kind of link in the same run. The cases are
// rows both ways at once, and raw writes of as many bytes; rows of host threads while warps poll pinned words; a count
// there and back; commands alone; and a proxy with nothing to do. One JSON line a case, and one of all rounds' medians.
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
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
constexpr uint32_t kPollingWarps = 64, kPolledMost = 8;  // words that a warp may poll
constexpr uint64_t kRoundsOfACount = 2000;

void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "bench_proxy: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Offsets in the network region of a side, the same on both: words, then slots, then what only its own rank uses.
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

// The arguments of a side's kernels.
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

// Each warp polls so many words, until every one of them has reached the count.
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

// A network that takes everything and does nothing, for the cost of commands alone.
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

// One rank's memory, stream, link and proxy.
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

  // Makes zeroed memory, links that know each other and, if asked, proxies.
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

  // Seconds until a host thread of each side, over its link, has done `body`.
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

// Sends and takes the rows `begin` to `count` - 1 of each ring.
void rows_by_host(Side& side, uint32_t other, uint64_t begin, uint64_t count) {
  uint64_t sent[kRings], taken[kRings];
  for (uint32_t ring = 0; ring < kRings; ++ring) sent[ring] = taken[ring] = begin;
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

// Sends the bytes of `count` rows of each ring, in writes as long as puts and as many at once, then a word behind them.
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

// How many words of pinned memory each polling warp polls on each side's GPU. These cases take turns over one pair of
// links and by the same two threads, because two pairs differ more in their processors and places than polling costs.
constexpr int kPolls[] = {0, 1, int(kPolledMost)};
constexpr int kPollTurns = int(std::size(kPolls));

void set_polled(Pair& pair, Word word) {
  for (Side& side : pair.sides)
    for (uint32_t i = 0; i < kPollingWarps * kPolledMost; ++i)
      std::atomic_ref<Word>(*word_at(side.region, place::polled(0, i))).store(word, std::memory_order_release);
}

// Seconds that host threads take for `count` rows of each ring, for each of kPolls, of which number `first` begins.
std::array<double, kPollTurns> seconds_while_polled(Pair& pair, int first, uint64_t count) {
  std::array<double, kPollTurns> spent{};
  std::barrier both(2);
  pair.open(false);
  pair.by_hosts([&](uint32_t s) {
    for (int turn = 0; turn < kPollTurns; ++turn) {
      const int which = (first + turn) % kPollTurns;
      if (s == 0 && kPolls[which] != 0) pair.launch<NoMoves>(Polls{kPolls[which]}, kPollingWarps, 0, 2);
      both.arrive_and_wait();
      const double begin = seconds();
      rows_by_host(pair.sides[s], 1 - s, uint64_t(turn) * count, uint64_t(turn + 1) * count);
      both.arrive_and_wait();
      if (s != 0) continue;
      spent[which] = seconds() - begin;
      set_polled(pair, 1);
      pair.finish(2);
      set_polled(pair, 0);
    }
  });
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

// The figures of all rounds, by case: rates in GB/s each way, counts in us one way, commands in millions a second.
class Figures {
 public:
  void add(const std::string& name, const char* unit, double figure) {
    std::printf("{\"case\":\"%s\",\"%s\":%.3f}\n", name.c_str(), unit, figure);
    of_[name].push_back(figure);
  }
  double median(const std::string& name) const {
    std::vector<double> figures = of_.at(name);
    std::nth_element(figures.begin(), figures.begin() + std::ptrdiff_t(figures.size() / 2), figures.end());
    return figures[figures.size() / 2];
  }
  double ratio(const std::string& name, const std::string& to) const { return median(name) / median(to); }

 private:
  std::map<std::string, std::vector<double>> of_;
};

// Measures rows, the noisiest cases, in short turns, whose order changes so that no case is first in every round.
void rows_in_turns(Pair& pair, uint64_t rows, int rounds, Figures& figures) {
  const double bytes = double(kRings) * double(rows) * kRowBytes * 1e-9;
  const std::pair<const char*, std::function<double()>> ways[] = {
      {"rows by host",
       [&] {
         pair.open(false);
         return pair.by_hosts([&](uint32_t s) { rows_by_host(pair.sides[s], 1 - s, 0, rows); });
       }},
      {"rows by proxy",
       [&] {
         pair.open(true);
         return pair.play<ScatterPipe>(Rows(), 2 * kRings, rows);
       }},
      {"rows by raw writes", [&] { return seconds_of_raw_writes(pair, rows); }},
  };
  constexpr int kWays = int(std::size(ways));
  for (int round = 0; round < rounds; ++round)
    for (int turn = 0; turn < kWays; ++turn) {
      const auto& [name, seconds_of] = ways[(round + turn) % kWays];
      figures.add(name, "gb_per_s_each_way", bytes / seconds_of());
    }
}

// Measures which part of their rate the rows of host threads keep while warps poll.
void polls_in_turns(Pair& pair, uint64_t rows, int rounds, Figures& figures) {
  for (int round = 0; round < rounds; ++round) {
    const auto spent = seconds_while_polled(pair, round % kPollTurns, rows);
    for (int which = 1; which < kPollTurns; ++which)
      figures.add("rows beside " + std::to_string(kPolls[which]) + " polled words a warp", "share",
                  spent[0] / spent[which]);
  }
}

void counts_and_commands(Pair& pair, int rounds, Figures& figures) {
  for (int round = 0; round < rounds; ++round) {
    pair.open(false);
    const double host = pair.by_hosts([&](uint32_t s) { counts_by_host(pair.sides[s], 1 - s, s == 0); });
    pair.open(true);
    const double proxy = pair.play<NoMoves>(Counts(), kWarpsOfBlock, kRoundsOfACount);
    figures.add("count by host", "us_one_way", host * 1e6 / (2 * kRoundsOfACount));
    figures.add("count by proxy", "us_one_way", proxy * 1e6 / (2 * kRoundsOfACount));
    for (const uint32_t warps : {8u, 64u}) {
      pair.open(true, true);
      const uint64_t each = 200'000 / warps;
      figures.add("commands of " + std::to_string(warps) + " warps", "millions_per_s",
                  double(each * warps) * 1e-6 / pair.play<NoMoves>(Commands(), warps, each, 1));
    }
  }
}

void run(Pair& pair, uint64_t rows, int rounds) {
  Figures figures;
  rows_in_turns(pair, rows, rounds, figures);
  polls_in_turns(pair, rows, rounds, figures);
  counts_and_commands(pair, rounds, figures);
  pair.open(true);
  for (const bool naps : {false, true})
    figures.add(naps ? "idle with graphs" : "idle", "share_of_a_core", idle_share(pair, naps) / 2);
  std::printf(
      "{\"case\":\"medians\",\"rounds\":%d,\"rows_by_proxy_to_raw\":%.3f,\"rows_by_proxy_to_host\":%.3f,"
      "\"rows_beside_64_polled_words\":%.3f,\"beside_512\":%.3f,\"count_above_host_us\":%.2f,"
      "\"millions_of_commands_of_8_warps\":%.2f,\"of_64_warps\":%.2f,\"idle\":%.4f,\"idle_with_graphs\":%.4f}\n",
      rounds, figures.ratio("rows by proxy", "rows by raw writes"), figures.ratio("rows by proxy", "rows by host"),
      figures.median("rows beside 1 polled words a warp"), figures.median("rows beside 8 polled words a warp"),
      figures.median("count by proxy") - figures.median("count by host"), figures.median("commands of 8 warps"),
      figures.median("commands of 64 warps"), figures.median("idle"), figures.median("idle with graphs"));
}

}  // namespace

int main(int count, char** arguments) {
  int gpus = 1;
  uint64_t rows = 2000;
  int rounds = 15;
  std::string provider = "tcp;ofi_rxm";
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i];
    if (name == "--gpus") gpus = std::atoi(arguments[i + 1]);
    if (name == "--provider") provider = arguments[i + 1];
    if (name == "--rows") rows = std::strtoull(arguments[i + 1], nullptr, 10);
    if (name == "--rounds") rounds = std::atoi(arguments[i + 1]);
  }
  if (count % 2 == 0 || gpus < 1 || gpus > 2 || rows == 0 || rows % kBatch != 0 || rounds < 1) {
    std::fprintf(stderr,
                 "bench_proxy [--gpus 1|2] [--provider NAME] [--rows N, a multiple of %u] [--rounds N, 1 or more]\n",
                 kBatch);
    return 2;
  }
  try {
    Pair pair(gpus, provider);
    run(pair, rows, rounds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_proxy: %s\n", error.what());
    return 1;
  }
}
