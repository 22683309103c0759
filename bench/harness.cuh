// What is measured, and how: options, the start of all ranks at once, series of times, one JSON line a case and method.
//
// Method "aligned": on every rank's stream a sleep and a barrier of all ranks come before the first event, so that the
// cost of a launch is hidden and ranks start together. "plain": with idle GPUs, host threads meet, make the call and
// wait for the stream. "host" is the part of "plain" that giving the call to the stream took. Of each iteration the
// slowest rank counts; a line has min, median and max over the iterations.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <barrier>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

namespace bench {

constexpr uint32_t kRanksMax = 64;
constexpr uint32_t kWarmUps = 3;

constexpr const char* kHelp = R"(bench_gpu_trip [OPTION VALUE]...
  times of dispatch and combine on GPUs, ranks as threads of this process, one JSON line a case and method
  --gpus 2 --ranks-per-gpu 1   ranks are dealt out round-robin
  --nodes 2,2                  ranks of each node; one node
  --tokens 4096 --hidden 7168 --experts 256 --top-k 8    of each rank; bf16; uniform routing
  --sms 16 --channels 0 --slots 0 --peer-slots 0         of Transload; 0: its choice
  --iterations 30
  --nccl libnccl.so.2          NCCL, for the cases nccl_*: what one would do without Transload; "none": without them
  --nccl-ctas 0                the most blocks, hence SMs, of NCCL's own kernels; 0: NCCL chooses
  --nccl-register 0            1: NCCL's buffers come from ncclMemAlloc and are registered with it
)";

inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "bench_gpu_trip: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

[[noreturn]] inline void refuse(const std::string& why) {
  std::fprintf(stderr, "bench_gpu_trip: %s; see --help\n", why.c_str());
  std::exit(2);
}

struct Options {
  uint32_t gpus = 2, ranks_per_gpu = 1, tokens = 4096, hidden = 7168, experts = 256, top_k = 8;
  uint32_t sms = 16, channels = 0, slots = 0, peer_slots = 0, iterations = 30;
  uint32_t nccl_ctas = 0, nccl_register = 0;
  std::string nccl = "libnccl.so.2";
  std::vector<uint32_t> nodes;
  std::string command;  // NCCL's library is named without its folder, which is one machine's
  uint32_t ranks() const { return gpus * ranks_per_gpu; }
  uint32_t row_bytes() const { return hidden * 2; }
};

struct NumberOption {
  const char* name;
  uint32_t* value;
  uint32_t least, most;
};

inline uint32_t number(const NumberOption& option, const std::string& text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < option.least || value > option.most)
    refuse(std::string(option.name) + " " + text + ": a number from " + std::to_string(option.least) + " to " +
           std::to_string(option.most));
  return value;
}

inline void check(const Options& o) {
  if (o.gpus * o.ranks_per_gpu > kRanksMax)
    refuse("--gpus x --ranks-per-gpu " + std::to_string(o.ranks()) + ": at most " + std::to_string(kRanksMax));
  if (o.hidden % 128 != 0) refuse("--hidden " + std::to_string(o.hidden) + ": a multiple of 128");
  if (o.top_k > o.experts)
    refuse("--top-k " + std::to_string(o.top_k) + ": at most --experts, " + std::to_string(o.experts));
  const uint32_t ranks = std::accumulate(o.nodes.begin(), o.nodes.end(), 0u);
  if (ranks != o.ranks())
    refuse("--nodes has " + std::to_string(ranks) + " ranks, --gpus x --ranks-per-gpu " + std::to_string(o.ranks()));
}

inline void read_nodes(Options& o, const std::string& text) {
  uint32_t size = 0;
  const NumberOption each{"--nodes", &size, 1, kRanksMax};
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    o.nodes.push_back(number(each, text.substr(begin, end - begin)));
    begin = end + 1;
  }
}

inline Options parse(int argc, char** argv) {
  Options o;
  const NumberOption numbers[] = {{"--gpus", &o.gpus, 1, kRanksMax},
                                  {"--ranks-per-gpu", &o.ranks_per_gpu, 1, kRanksMax},
                                  {"--tokens", &o.tokens, 1, 1 << 20},
                                  {"--hidden", &o.hidden, 128, 1 << 16},
                                  {"--experts", &o.experts, 1, 1 << 16},
                                  {"--top-k", &o.top_k, 1, 32},
                                  {"--sms", &o.sms, 1, 1 << 10},
                                  {"--channels", &o.channels, 0, 1 << 16},
                                  {"--slots", &o.slots, 0, 1 << 16},
                                  {"--peer-slots", &o.peer_slots, 0, 1 << 16},
                                  {"--iterations", &o.iterations, 1, 1 << 20},
                                  {"--nccl-ctas", &o.nccl_ctas, 0, 64},
                                  {"--nccl-register", &o.nccl_register, 0, 1}};
  o.command = "bench_gpu_trip";
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--help" || name == "-h") {
      std::fputs(kHelp, stdout);
      std::exit(0);
    }
    const NumberOption* const known =
        std::find_if(std::begin(numbers), std::end(numbers), [&](const NumberOption& n) { return n.name == name; });
    const bool is_number = known != std::end(numbers);
    if (!is_number && name != "--nodes" && name != "--nccl") refuse("no option " + name);
    if (i + 1 == argc) refuse(name + " needs a value");
    std::string value = argv[i + 1];
    if (is_number) *known->value = number(*known, value);
    if (name == "--nodes") read_nodes(o, value);
    if (name == "--nccl") {
      o.nccl = value;
      value = value.substr(value.rfind('/') + 1);
    }
    o.command += " " + name + " " + value;
  }
  if (o.nodes.empty()) o.nodes = {o.ranks()};
  check(o);
  return o;
}

// Where ranks meet on their GPUs: each rank has a word of every rank, which that rank writes.
struct Gate {
  uint64_t* words[kRanksMax];
  uint32_t ranks, me;
};

inline __device__ uint64_t clock_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

static __global__ void meet(Gate gate, uint64_t turn, uint64_t sleep_ns) {
  const uint64_t begin = clock_ns();
  while (clock_ns() - begin < sleep_ns) {
  }
  const uint32_t other = threadIdx.x;
  if (other >= gate.ranks) return;
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(gate.words[other] + gate.me), "l"(turn) : "memory");
  uint64_t seen = 0;
  do {
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(seen) : "l"(gate.words[gate.me] + other) : "memory");
  } while (seen < turn && clock_ns() - begin < 2000000000ull);
}

// What the threads of all ranks share.
struct Shared {
  explicit Shared(const Options& o) : barrier(o.ranks()), us(o.ranks()), words(o.ranks()) {}
  std::barrier<> barrier;
  std::vector<float> us;  // of this iteration, by rank
  std::vector<uint64_t*> words;
  uint64_t received_bytes = 0;  // mean over the ranks
  std::mutex mutex;
};

// Those columns of a line that say who moved the rows. `more` goes before the command.
struct Mover {
  std::string executor, sms, channels, slots, more;
};

// Measures one rank, with all others.
class Meter {
 public:
  Meter(const Options& o, Shared& shared, uint32_t rank) : o_(o), shared_(shared), rank_(rank) {
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    must(cudaEventCreate(&begin_), "cudaEventCreate");
    must(cudaEventCreate(&end_), "cudaEventCreate");
    must(cudaMalloc(&shared.words[rank], kRanksMax * 8), "cudaMalloc");
    must(cudaMemset(shared.words[rank], 0, kRanksMax * 8), "cudaMemset");
    shared.barrier.arrive_and_wait();
    gate_ = {{}, o.ranks(), rank};
    std::copy(shared.words.begin(), shared.words.end(), gate_.words);
  }

  cudaStream_t stream() const { return stream_; }
  // `wait` returns once the calls that were given to the stream are done.
  void wait_by(std::function<void()> wait) { wait_ = std::move(wait); }

  // `call` gives one call to the stream; `bytes` are those of the rows that this rank receives in it.
  template <class F>
  void measure(const Mover& mover, const char* name, uint64_t bytes, F call) {
    sum_bytes(bytes);
    series(mover, name, "aligned", [&] { return aligned(call); });
    series(mover, name, "plain", [&] { return plain(call); });
    series(mover, name, "host", [&] {
      plain(call);
      return host_us_;
    });
  }

 private:
  template <class F>
  float aligned(F call) {
    meet<<<1, kRanksMax, 0, stream_>>>(gate_, ++turn_, 200000);
    must(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    call();
    must(cudaEventRecord(end_, stream_), "cudaEventRecord");
    wait_();
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    return ms * 1000;
  }
  template <class F>
  float plain(F call) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    call();
    host_us_ = std::chrono::duration<float, std::micro>(Clock::now() - begin).count();
    wait_();
    return std::chrono::duration<float, std::micro>(Clock::now() - begin).count();
  }

  void sum_bytes(uint64_t bytes) {
    if (rank_ == 0) shared_.received_bytes = 0;
    shared_.barrier.arrive_and_wait();
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.received_bytes += bytes / o_.ranks();
    }
    shared_.barrier.arrive_and_wait();
  }

  template <class F>
  void series(const Mover& mover, const char* name, const char* method, F once) {
    std::vector<float> slowest;
    for (uint32_t i = 0; i < o_.iterations + kWarmUps; ++i) {
      shared_.barrier.arrive_and_wait();
      shared_.us[rank_] = once();
      shared_.barrier.arrive_and_wait();
      if (i >= kWarmUps) slowest.push_back(*std::max_element(shared_.us.begin(), shared_.us.end()));
    }
    if (rank_ != 0) return;
    std::sort(slowest.begin(), slowest.end());
    const float median = slowest[slowest.size() / 2];
    std::string nodes;
    for (uint32_t n : o_.nodes) nodes += (nodes.empty() ? "" : ",") + std::to_string(n);
    std::printf(
        "{\"case\":\"%s\",\"executor\":\"%s\",\"gpus\":%u,\"ranks_per_gpu\":%u,\"node_sizes\":[%s],\"sms\":%s,"
        "\"tokens\":%u,\"hidden\":%u,\"channels\":%s,\"slots\":%s,"
        "\"us\":{\"min\":%.1f,\"median\":%.1f,\"max\":%.1f},\"logical_gbps\":%.1f,"
        "\"method\":\"%s\",%s\"command\":\"%s\"}\n",
        name, mover.executor.c_str(), o_.gpus, o_.ranks_per_gpu, nodes.c_str(), mover.sms.c_str(), o_.tokens, o_.hidden,
        mover.channels.c_str(), mover.slots.c_str(), slowest[0], median, slowest.back(),
        double(shared_.received_bytes) / median * 1e-3, method, mover.more.c_str(), o_.command.c_str());
    std::fflush(stdout);
  }

  const Options& o_;
  Shared& shared_;
  const uint32_t rank_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  Gate gate_{};
  uint64_t turn_ = 0;
  float host_us_ = 0;
  std::function<void()> wait_;
};

}  // namespace bench
