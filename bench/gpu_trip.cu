// Measures dispatch and combine on GPUs, with ranks as threads of this process: Transload's and, in the same run, what
// one would write with NCCL. One JSON line a case and method; harness.cuh has the methods, and --help the options.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <transload/transload.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/harness.cuh"
#include "bench/nccl.h"
#include "bench/nccl_trip.cuh"

namespace {

using namespace transload;
using namespace bench;

// Fills what experts gave with bf16 values of many magnitudes, so that the order of a sum shows.
__global__ void fill(uint16_t* to, uint64_t count, uint32_t seed) {
  const uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t h = uint32_t(i) * 2654435761u ^ uint32_t(i >> 32) ^ seed * 0x9e3779b9u;
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    to[i] = uint16_t(0x3000 | ((h ^ h >> 16) & 0x8fff));
  }
}

class Rank {
 public:
  Rank(const Options& o, Shared& shared, uint32_t rank, uint16_t port)
      : o_(o), shared_(shared), rank_(rank), device_(enter(o, rank)), meter_(o, shared, rank) {
    make_inputs();
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
    options.slab_bytes = slab_bytes_needed(options, {.expert_rows = 1});
    group_ = std::make_unique<Group>(options);
    meter_.wait_by([this] { group_->wait({meter_.stream()}); });
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

  // `world`: null without NCCL.
  void run(World* world) {
    DispatchOutputs first = group_->dispatch(inputs({}));
    wait();
    handle_ = first.handle;
    const int64_t rows = first.rows;
    rows_bytes_ = uint64_t(rows) * o_.row_bytes();
    first = {};
    Lease lease = group_->lease(rows_bytes_);
    fill<<<256, 256, 0, meter_.stream()>>>(static_cast<uint16_t*>(lease.data()), rows_bytes_ / 2, rank_);
    must(cudaGetLastError(), "fill");
    measure("dispatch_bf16_cached", rows_bytes_, [&] { group_->dispatch(inputs(handle_)); });
    CombineInputs in;
    in.x = matrix(lease.data(), rows, o_.hidden, kBf16, {kDLCUDA, device_});
    in.handle = handle_;
    in.stream = {meter_.stream()};
    measure("combine_bf16", rows_bytes_, [&] { group_->combine(in); });
    measure("dispatch_bf16_first", rows_bytes_, [&] { group_->dispatch(inputs({})); });
    // With rows_max the host does not wait for the number of rows.
    DispatchInputs bounded = inputs({});
    bounded.rows_max = std::min(rows + 1, int64_t(o_.tokens) * o_.ranks());
    measure("dispatch_bf16_first_rows_max", rows_bytes_, [&] { group_->dispatch(bounded); });
    DispatchInputs quantised = inputs(handle_);
    quantised.x = quantised_x();
    quantised.scales = tensor(scales_, o_.hidden / 128, kF32);
    measure("dispatch_fp8_cached", uint64_t(rows) * (o_.hidden + o_.hidden / 32), [&] { group_->dispatch(quantised); });
    if (world != nullptr) run_nccl(*world, in);
  }

 private:
  static int enter(const Options& o, uint32_t rank) {
    const int device = int(rank % o.gpus);
    must(cudaSetDevice(device), "cudaSetDevice");
    for (int other = 0; other < int(o.gpus); ++other)
      if (other != device) cudaDeviceEnablePeerAccess(other, 0);
    cudaGetLastError();
    return device;
  }
  void wait() { group_->wait({meter_.stream()}); }

  template <class F>
  void measure(const char* name, uint64_t bytes, F call) {
    const Mover mover{"cuda", std::to_string(o_.sms), std::to_string(o_.channels), std::to_string(o_.slots), ""};
    meter_.measure(mover, name, bytes, call);
  }

  // Gives NCCL's trip the inputs of Transload's, and the same bytes must come out. No kernel of Transload runs
  // meanwhile.
  void run_nccl(World& world, const CombineInputs& in) {
    const cudaStream_t stream = meter_.stream();
    NcclTrip trip(o_, *world.nccl, world.id, traffic(world));
    cudaDeviceProp properties;
    must(cudaGetDeviceProperties(&properties, device_), "cudaGetDeviceProperties");
    const Mover mover{"nccl", std::to_string(properties.multiProcessorCount), "null", "null",
                      "\"nccl\":\"" + world.nccl->version() + "\","};
    check_dispatch(trip);
    meter_.measure(mover, "nccl_dispatch_bf16", rows_bytes_, [&] { trip.dispatch(x_, stream); });
    check_combine(trip, in);
    meter_.measure(mover, "nccl_combine_bf16", rows_bytes_, [&] { trip.combine(stream); });
    trip.leave();
  }

  void check_dispatch(NcclTrip& trip) {
    if (trip.received_bytes() != rows_bytes_)
      wrong("nccl_dispatch_bf16", std::to_string(trip.received_bytes() / o_.row_bytes()) + " rows come, Transload's " +
                                      std::to_string(rows_bytes_ / o_.row_bytes()));
    must(cudaMemsetAsync(trip.received(), 0xee, rows_bytes_, meter_.stream()), "cudaMemset");
    trip.dispatch(x_, meter_.stream());
    wait();
    shared_.barrier.arrive_and_wait();
    const DispatchOutputs ours = group_->dispatch(inputs(handle_));
    wait();
    must_be_same("nccl_dispatch_bf16", trip.received(), ours.x);
  }

  void check_combine(NcclTrip& trip, const CombineInputs& in) {
    must(cudaMemcpyAsync(trip.received(), in.x.data, rows_bytes_, cudaMemcpyDeviceToDevice, meter_.stream()),
         "cudaMemcpy");
    must(cudaMemsetAsync(trip.packed(), 0xee, trip.packed_bytes(), meter_.stream()), "cudaMemset");
    must(cudaMemsetAsync(trip.out(), 0xee, uint64_t(o_.tokens) * o_.row_bytes(), meter_.stream()), "cudaMemset");
    trip.combine(meter_.stream());
    wait();
    shared_.barrier.arrive_and_wait();
    const CombineOutputs ours = group_->combine(in);
    wait();
    must_be_same("nccl_combine_bf16", trip.out(), ours.x);
  }

  [[noreturn]] void wrong(const char* name, const std::string& what) const {
    std::fprintf(stderr, "bench_gpu_trip: rank %u: %s is wrong: %s\n", rank_, name, what.c_str());
    std::_Exit(1);
  }
  void must_be_same(const char* name, const void* theirs, const Tensor& ours) {
    std::vector<char> a(ours.bytes()), b(ours.bytes());
    must(cudaMemcpy(a.data(), theirs, a.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    must(cudaMemcpy(b.data(), ours.data, b.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    for (size_t at = 0; at < a.size(); at += o_.row_bytes())
      if (std::memcmp(&a[at], &b[at], o_.row_bytes()) != 0)
        wrong(name, "row " + std::to_string(at / o_.row_bytes()) + " is not Transload's");
    shared_.barrier.arrive_and_wait();
    if (rank_ == 0)
      std::printf("{\"checked\":\"%s\",\"rows\":%lld,\"what\":\"on every rank the same bytes as Transload's\"}\n", name,
                  (long long)ours.rows());
    std::fflush(stdout);
  }

  Traffic traffic(World& world) const {
    for (uint32_t expert : group_->local_experts()) world.owner[expert] = rank_;
    shared_.barrier.arrive_and_wait();
    Traffic t;
    t.me = rank_;
    t.place.assign(size_t(o_.tokens) * o_.ranks(), -1);
    std::vector<uint64_t> mine(o_.ranks());
    for (size_t i = 0; i < choices_.size(); ++i) {
      const uint32_t owner = world.owner[size_t(choices_[i])];
      int32_t& place = t.place[i / o_.top_k * o_.ranks() + owner];
      if (place < 0) place = int32_t(mine[owner]++);
    }
    world.sent[rank_] = mine;
    shared_.barrier.arrive_and_wait();
    t.sent = world.sent;
    for (size_t i = 0; i < t.place.size(); ++i) {
      const uint32_t owner = uint32_t(i % o_.ranks());
      if (t.place[i] >= 0) t.place[i] += int32_t(owner == rank_ ? t.row_base(rank_) : t.packed_base(owner));
    }
    return t;
  }

  void make_inputs() {
    std::mt19937 random(rank_ + 1);
    choices_.resize(size_t(o_.tokens) * o_.top_k);
    std::vector<float> weights(choices_.size(), 0.125f);
    std::vector<uint32_t> experts(o_.experts);
    for (uint32_t t = 0; t < o_.tokens; ++t) {
      std::iota(experts.begin(), experts.end(), 0);
      for (uint32_t k = 0; k < o_.top_k; ++k) {
        std::swap(experts[k], experts[k + random() % (o_.experts - k)]);
        choices_[size_t(t) * o_.top_k + k] = experts[k];
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
    x_ = upload(x), ids_ = upload(choices_), weights_ = upload(weights);
    scales_ = upload(std::vector<float>(size_t(o_.tokens) * (o_.hidden / 128), 0.5f));
  }

  Tensor tensor(void* data, int64_t columns, DLDataType type) const {
    return matrix(data, o_.tokens, columns, type, {kDLCUDA, device_});
  }
  // The first half of the rows' bytes, as fp8.
  Tensor quantised_x() const { return tensor(x_, o_.hidden, kF8E4m3); }

  DispatchInputs inputs(const Handle& handle) const {
    DispatchInputs in;
    in.x = tensor(x_, o_.hidden, kBf16);
    in.stream = {meter_.stream()};
    in.handle = handle;
    if (handle) return in;
    in.topk_idx = tensor(ids_, o_.top_k, kI64);
    in.topk_weights = tensor(weights_, o_.top_k, kF32);
    return in;
  }

  const Options& o_;
  Shared& shared_;
  const uint32_t rank_;
  const int device_;
  Meter meter_;
  std::vector<int64_t> choices_;  // [tokens][top-k] experts
  void *x_ = nullptr, *ids_ = nullptr, *weights_ = nullptr, *scales_ = nullptr;
  std::unique_ptr<Group> group_;
  Handle handle_;
  uint64_t rows_bytes_ = 0;
};

// Null: the cases with NCCL are left out; a line says why, unless they were not asked for.
std::unique_ptr<Nccl> load_nccl(const Options& o) {
  if (o.nccl == "none") return nullptr;
  std::string why = "NCCL takes one rank a GPU, --ranks-per-gpu is " + std::to_string(o.ranks_per_gpu);
  if (o.ranks_per_gpu == 1) {
    setenv("NCCL_NVLS_ENABLE", "0", 1);
    if (o.nccl_ctas > 0) setenv("NCCL_MAX_CTAS", std::to_string(o.nccl_ctas).c_str(), 1);
    try {
      return std::make_unique<Nccl>(o.nccl);
    } catch (const std::exception& error) {
      why = error.what();
    }
  }
  std::printf("skipped: nccl_dispatch_bf16, nccl_combine_bf16: %s\n", why.c_str());
  std::fflush(stdout);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  const Options options = parse(argc, argv);
  const std::unique_ptr<Nccl> nccl = load_nccl(options);
  int devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&devices); error != cudaSuccess || devices == 0) {
    std::printf("skipped: no GPU here: %s\n", cudaGetErrorString(error));
    return 77;
  }
  if (uint32_t(devices) < options.gpus)
    refuse("--gpus " + std::to_string(options.gpus) + ": there are " + std::to_string(devices));
  World world{nccl.get(), {}, std::vector<uint32_t>(options.experts), {}};
  world.sent.resize(options.ranks());
  if (nccl) world.id = nccl->unique_id();
  Rendezvous rendezvous;
  Shared shared(options);
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < options.ranks(); ++r)
    threads.emplace_back([&, r] {
      try {
        Rank(options, shared, r, rendezvous.port()).run(nccl ? &world : nullptr);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_gpu_trip: rank %u: %s\n", r, error.what());
        std::_Exit(1);
      }
    });
  for (std::thread& t : threads) t.join();
  return 0;
}
