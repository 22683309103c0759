// Times of dispatch and combine on GPUs, ranks as threads of this process, one JSON line a case.
//
//   bench_gpu_trip [--gpus 2] [--ranks-per-gpu 1] [--nodes 2,2] [--tokens 4096] [--hidden 7168] [--experts 256]
//                  [--top-k 8] [--sms 16] [--channels 256] [--slots 4] [--peer-slots 1]
//                  [--iterations 30]
//
// Method "aligned": on every rank's stream a sleep and a barrier of all ranks come before the first event, so that what
// a launch costs is hidden and ranks start together; "plain": idle GPUs, a barrier of host threads, the call, and the
// stream is waited for. Of each iteration the slowest rank counts; min, median and max over the iterations.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <transload/transload.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace transload;

void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "bench_gpu_trip: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct Options {
  uint32_t gpus = 2, ranks_per_gpu = 1, tokens = 4096, hidden = 7168, experts = 256, top_k = 8;
  uint32_t sms = 16, channels = 256, slots = 4, peer_slots = 1, iterations = 30;
  std::vector<uint32_t> nodes;
  std::string command;
  uint32_t ranks() const { return gpus * ranks_per_gpu; }
};

Options parse(int argc, char** argv) {
  Options o;
  std::map<std::string, uint32_t*> numbers{{"--gpus", &o.gpus},
                                           {"--ranks-per-gpu", &o.ranks_per_gpu},
                                           {"--tokens", &o.tokens},
                                           {"--hidden", &o.hidden},
                                           {"--experts", &o.experts},
                                           {"--top-k", &o.top_k},
                                           {"--sms", &o.sms},
                                           {"--channels", &o.channels},
                                           {"--slots", &o.slots},
                                           {"--iterations", &o.iterations},
                                           {"--peer-slots", &o.peer_slots}};
  o.command = "bench_gpu_trip";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    o.command += " " + name + " " + argv[i + 1];
    if (name == "--nodes") {
      std::stringstream list(argv[i + 1]);
      for (std::string part; std::getline(list, part, ',');) o.nodes.push_back(uint32_t(std::stoul(part)));
    } else if (numbers.count(name) != 0) {
      *numbers[name] = uint32_t(std::stoul(argv[i + 1]));
    } else {
      std::fprintf(stderr, "bench_gpu_trip: no option %s\n", name.c_str());
      std::exit(2);
    }
  }
  if (o.nodes.empty()) o.nodes = {o.ranks()};
  if (std::accumulate(o.nodes.begin(), o.nodes.end(), 0u) != o.ranks()) {
    std::fprintf(stderr, "bench_gpu_trip: --nodes has other ranks than --gpus x --ranks-per-gpu\n");
    std::exit(2);
  }
  return o;
}

// Where ranks meet on their GPUs: a word of each rank at each rank.
struct Gate {
  uint64_t* words[64];
  uint32_t ranks, me;
};

__device__ uint64_t clock_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

__global__ void meet(Gate gate, uint64_t turn, uint64_t sleep_ns) {
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

struct Shared {
  explicit Shared(const Options& o) : barrier(o.ranks()), us(o.ranks()), words(o.ranks()) {}
  std::barrier<> barrier;
  std::vector<float> us;  // of this iteration, by rank
  std::vector<uint64_t*> words;
  uint64_t received_bytes = 0;
  std::mutex mutex;
};

class Rank {
 public:
  Rank(const Options& o, Shared& shared, uint32_t rank, uint16_t port) : o_(o), shared_(shared), rank_(rank) {
    device_ = int(rank % o.gpus);
    must(cudaSetDevice(device_), "cudaSetDevice");
    for (int other = 0; other < int(o.gpus); ++other)
      if (other != device_) cudaDeviceEnablePeerAccess(other, 0);
    cudaGetLastError();
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    must(cudaEventCreate(&begin_), "cudaEventCreate");
    must(cudaEventCreate(&end_), "cudaEventCreate");
    must(cudaMalloc(&shared.words[rank], 64 * 8), "cudaMalloc");
    must(cudaMemset(shared.words[rank], 0, 64 * 8), "cudaMemset");
    make_inputs();
    shared.barrier.arrive_and_wait();
    gate_ = {{}, o.ranks(), rank};
    std::copy(shared.words.begin(), shared.words.end(), gate_.words);
    GroupOptions options;
    options.bootstrap.rank = rank;
    options.bootstrap.ranks = o.ranks();
    options.bootstrap.port = port;
    options.topology.node_sizes = o.nodes;
    options.experts = o.experts;
    options.tokens_max = o.tokens;
    options.row_bytes_max = o.hidden * 2;
    options.scales_max = o.hidden / 128;
    options.top_k_max = o.top_k;
    options.channels = o.channels;
    options.slots = o.slots;
    options.peer_slots = o.peer_slots;
    options.device = {kDLCUDA, device_};
    options.sms = o.sms;
    options.deadline_ms = 2000;
    const uint64_t rows = uint64_t(o.tokens) * o.ranks();
    options.slab_bytes = 2 * rows * (o.hidden * 2 + 1024) + 2 * uint64_t(o.tokens) * o.hidden * 2 + (64 << 20);
    group_ = std::make_unique<Group>(options);
    if (rank_ == 0) {
      const MemoryReport memory = group_->memory();
      std::printf("{\"memory\":{\"rings\":%llu,\"counters\":%llu,\"slabs\":%llu},\"scale_up\":\"%s\"}\n",
                  (unsigned long long)memory.ring_bytes, (unsigned long long)memory.counter_bytes,
                  (unsigned long long)memory.slab_bytes, group_->scale_up_name().c_str());
    }
  }
  ~Rank() {
    group_.reset();
    shared_.barrier.arrive_and_wait();
  }

  void run() {
    DispatchOutputs first = group_->dispatch(inputs({}));
    group_->wait({stream_});
    handle_ = first.handle;
    const int64_t rows = first.rows;
    rows_bytes_ = uint64_t(rows) * o_.hidden * 2;
    first = {};
    Lease lease = group_->lease(rows_bytes_);
    must(cudaMemsetAsync(lease.data(), 0x3c, rows_bytes_, stream_), "cudaMemset");
    measure("dispatch_bf16_cached", rows_bytes_, [&] { group_->dispatch(inputs(handle_)); });
    CombineInputs in;
    in.x = matrix(lease.data(), rows, o_.hidden, kBf16);
    in.x.device = {kDLCUDA, device_};
    in.handle = handle_;
    in.stream = {stream_};
    measure("combine_bf16", rows_bytes_, [&] { group_->combine(in); });
    measure("dispatch_bf16_first", rows_bytes_, [&] { group_->dispatch(inputs({})); });
    // The same without the host's wait for the number of rows.
    DispatchInputs bounded = inputs({});
    bounded.rows_max = rows + 1;
    measure("dispatch_bf16_first_rows_max", rows_bytes_, [&] { group_->dispatch(bounded); });
    DispatchInputs quantised = inputs(handle_);
    quantised.x = quantised_x();
    quantised.scales = tensor(scales_, o_.hidden / 128, kF32);
    measure("dispatch_fp8_cached", uint64_t(rows) * (o_.hidden + o_.hidden / 32), [&] { group_->dispatch(quantised); });
  }

 private:
  void make_inputs() {
    std::mt19937 random(rank_ + 1);
    std::vector<int64_t> ids(size_t(o_.tokens) * o_.top_k);
    std::vector<float> weights(ids.size(), 0.125f);
    std::vector<uint32_t> experts(o_.experts);
    for (uint32_t t = 0; t < o_.tokens; ++t) {
      std::iota(experts.begin(), experts.end(), 0);
      for (uint32_t k = 0; k < o_.top_k; ++k) {
        std::swap(experts[k], experts[k + random() % (o_.experts - k)]);
        ids[size_t(t) * o_.top_k + k] = experts[k];
      }
    }
    std::vector<uint16_t> x(size_t(o_.tokens) * o_.hidden);
    for (uint16_t& v : x) v = uint16_t(0x3c00 | (random() & 0x83ff));
    auto upload = [&](const auto& from) {
      void* to = nullptr;
      must(cudaMalloc(&to, from.size() * sizeof(from[0])), "cudaMalloc");
      must(cudaMemcpy(to, from.data(), from.size() * sizeof(from[0]), cudaMemcpyHostToDevice), "cudaMemcpy");
      return to;
    };
    x_ = upload(x), ids_ = upload(ids), weights_ = upload(weights);
    scales_ = upload(std::vector<float>(size_t(o_.tokens) * (o_.hidden / 128), 0.5f));
  }

  Tensor tensor(void* data, int64_t columns, DLDataType type) const {
    Tensor t = matrix(data, o_.tokens, columns, type);
    t.device = {kDLCUDA, device_};
    return t;
  }
  // The first half of the rows' bytes, as fp8.
  Tensor quantised_x() const { return tensor(x_, o_.hidden, kF8E4m3); }

  DispatchInputs inputs(const Handle& handle) const {
    DispatchInputs in;
    in.x = tensor(x_, o_.hidden, kBf16);
    in.stream = {stream_};
    in.handle = handle;
    if (handle) return in;
    in.topk_idx = tensor(ids_, o_.top_k, kI64);
    in.topk_weights = tensor(weights_, o_.top_k, kF32);
    return in;
  }

  template <class F>
  float aligned(F call) {
    meet<<<1, 64, 0, stream_>>>(gate_, ++turn_, 200000);
    must(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    call();
    must(cudaEventRecord(end_, stream_), "cudaEventRecord");
    group_->wait({stream_});
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
    group_->wait({stream_});
    return std::chrono::duration<float, std::micro>(Clock::now() - begin).count();
  }

  template <class F>
  void measure(const char* name, uint64_t bytes, F call) {
    sum_bytes(bytes);
    series(name, "aligned", [&] { return aligned(call); });
    series(name, "plain", [&] { return plain(call); });
    std::vector<float> costs;
    series(name, "host", [&] {
      plain(call);
      return host_us_;
    });
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
  void series(const char* name, const char* method, F once) {
    std::vector<float> slowest;
    for (uint32_t i = 0; i < o_.iterations + 3; ++i) {
      shared_.barrier.arrive_and_wait();
      shared_.us[rank_] = once();
      shared_.barrier.arrive_and_wait();
      if (i >= 3) slowest.push_back(*std::max_element(shared_.us.begin(), shared_.us.end()));
    }
    if (rank_ != 0) return;
    std::sort(slowest.begin(), slowest.end());
    const float median = slowest[slowest.size() / 2];
    std::string nodes;
    for (uint32_t n : o_.nodes) nodes += (nodes.empty() ? "" : ",") + std::to_string(n);
    std::printf(
        "{\"case\":\"%s\",\"executor\":\"cuda\",\"gpus\":%u,\"ranks_per_gpu\":%u,\"node_sizes\":[%s],\"sms\":%u,"
        "\"tokens\":%u,\"hidden\":%u,\"channels\":%u,\"slots\":%u,"
        "\"us\":{\"min\":%.1f,\"median\":%.1f,\"max\":%.1f},\"logical_gbps\":%.1f,"
        "\"method\":\"%s\",\"command\":\"%s\"}\n",
        name, o_.gpus, o_.ranks_per_gpu, nodes.c_str(), o_.sms, o_.tokens, o_.hidden, o_.channels, o_.slots, slowest[0],
        median, slowest.back(), double(shared_.received_bytes) / median * 1e-3, method, o_.command.c_str());
    std::fflush(stdout);
  }

  const Options& o_;
  Shared& shared_;
  const uint32_t rank_;
  int device_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  void *x_ = nullptr, *ids_ = nullptr, *weights_ = nullptr, *scales_ = nullptr;
  Gate gate_{};
  uint64_t turn_ = 0;
  float host_us_ = 0;
  std::unique_ptr<Group> group_;
  Handle handle_;
  uint64_t rows_bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  const Options options = parse(argc, argv);
  Rendezvous rendezvous;
  Shared shared(options);
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < options.ranks(); ++r)
    threads.emplace_back([&, r] {
      try {
        Rank(options, shared, r, rendezvous.port()).run();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_gpu_trip: rank %u: %s\n", r, error.what());
        std::_Exit(1);
      }
    });
  for (std::thread& t : threads) t.join();
  return 0;
}
