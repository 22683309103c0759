// Warps of one or two GPUs as agents of a rung: what ladder/rungs are played on here.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "executor/cuda/rail_fifo.cuh"
#include "executor/cuda/rail_mapped.cuh"
#include "executor/cuda/warp.cuh"
#include "tests/ladder/rungs/agent.h"
#include "tests/ladder/rungs/ends.h"

namespace transload::gpu {

constexpr int kWordsOfSide = 1024, kWarpsOfAgentBlock = 4;
constexpr size_t kRoomBytes = size_t(64) << 20;
constexpr uint32_t kTableBytes = 24 << 10;
constexpr uint32_t kStageBytesMin = 34 * 4 * 64;  // a line for each element of 32 rows and 2 biases, fp32

inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// What the agents of one side compared, in device memory.
struct Checks {
  unsigned long long done, wrong, line, seen, expected;
};

TRANSLOAD_DEVICE void add(const rungs::Tally& of, Checks& all) {
  atomicAdd(&all.done, (unsigned long long)of.done);
  if (of.wrong == 0) return;
  atomicAdd(&all.wrong, (unsigned long long)of.wrong);
  if (atomicCAS(&all.line, 0ull, (unsigned long long)of.line) != 0) return;
  all.seen = of.seen, all.expected = of.expected;
}

// What kernels of a side get. Words and rooms of both sides; a word lies where its reader is.
struct Scene {
  CudaRank rank;  // without areas and queue
  StoreAreas areas;
  RailQueue queue;
  NearShape near;
  char* words[2];
  char* room[2];
  Checks* checks;
  int side, agents;
  bool spoil;

  TRANSLOAD_HD Word* word(int of, int i) const { return reinterpret_cast<Word*>(words[of] + kWordBytes * size_t(i)); }
};

template <class W>
struct Agent : rungs::AgentBase<W> {
  using Base = rungs::AgentBase<W>;
  const Scene& scene;

  TRANSLOAD_DEVICE Word* word(int of, int i) const { return scene.word(of, i); }
  TRANSLOAD_DEVICE char* room(int of) const { return scene.room[of]; }
  TRANSLOAD_DEVICE Word* mine(int i) const { return scene.word(this->side, i); }
  TRANSLOAD_DEVICE char* own(uint64_t at, uint64_t) const { return scene.room[this->side] + at; }
  template <class Body>
  TRANSLOAD_DEVICE void lanes(uint32_t n, Body body) const {
    for (uint32_t k = threadIdx.x % 32; k < n; k += 32) body(k);
  }
  // What this warp wrote by plain stores may be moved from now on: what an acquire gives too.
  TRANSLOAD_DEVICE void wrote() const {
    ptx::engine_fence();
    __syncwarp();
  }
  TRANSLOAD_DEVICE void meet() const { __syncwarp(); }
  TRANSLOAD_DEVICE void publish(Word* at, Word count) { Base::publish({at, 0}, count); }
  TRANSLOAD_DEVICE void publish(int of, int i, Word count) { publish(word(of, i), count); }
  TRANSLOAD_DEVICE void credit(Word* at, Word count) { Base::credit({at, 0}, count); }
  TRANSLOAD_DEVICE void credit(int of, int i, Word count) { credit(word(of, i), count); }
  TRANSLOAD_DEVICE void tell(int of, int i, Word count) const {
    this->w.once([&] { ptx::store_release(word(of, i), count); });
  }
  TRANSLOAD_DEVICE void set(int i, Word value) const {
    this->w.once([&] { ptx::store_relaxed(mine(i), value); });
  }
  TRANSLOAD_DEVICE Word value(int i) const { return this->w.peek(mine(i)); }
  TRANSLOAD_DEVICE void count(uint32_t* at) const {
    this->w.once([&] { atomicAdd(at, 1u); });
  }
  TRANSLOAD_DEVICE uint64_t now_ns() const { return ptx::now_ns(); }
};

template <class Pipe, class Rail, class Rung>
__global__ void __launch_bounds__(kWarpsOfAgentBlock * 32, 1)
    agents_kernel(const __grid_constant__ Scene scene, const __grid_constant__ Rung rung) {
  extern __shared__ __align__(128) char near[];
  __shared__ StageDesk desks[kWarpsOfAgentBlock];
  const int warp = int(threadIdx.x) / 32, number = int(blockIdx.x) * kWarpsOfAgentBlock + warp;
  if (number >= scene.agents) return;
  char* const mine = near + warp * scene.near.bytes_of_warp();
  CudaRank rank = scene.rank;
  rank.areas = &scene.areas;
  rank.queue = &scene.queue;
  typename Rail::RailHeld held;
  CudaWarp<Pipe, Rail> w(
      rank, {Stages(mine, &desks[warp], scene.near.stage_bytes), mine + kStages * scene.near.stage_bytes, held},
      scene.near);
  Agent<CudaWarp<Pipe, Rail>> agent{{w, scene.side, number, {}}, scene};
  agent.tally.spoil = scene.spoil;
  rung(agent);
  w.retire();
  add(agent.tally, *scene.checks);
}

// How the warps of a rung are set.
struct Setting {
  uint32_t publish_every = 8, credit_every = 4, piece_bytes = 4096;
  uint64_t deadline_ns = 20'000'000'000;
  StoreArea own[2] = {};  // of the caller, by the agents of each side
  RailQueue queues[2] = {};
};

// What the host shares with the kernels of a side.
struct HostPage {
  alignas(128) Word abort;
  alignas(128) DeviceFault fault;
  alignas(128) WaitsFor waits_for;
};

// Two sides: two GPUs, or one that plays both.
class Stage {
 public:
  explicit Stage(int gpus) : gpus_(gpus) {
    for (int s = 0; s < 2; ++s) {
      Side& side = sides_[s];
      side.device = s % gpus;
      use(s);
      if (gpus == 2) must(cudaDeviceEnablePeerAccess(1 - side.device, 0), "cudaDeviceEnablePeerAccess");
      must(cudaStreamCreateWithFlags(&side.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      must(cudaMalloc(&side.words, kWordBytes * kWordsOfSide), "cudaMalloc");
      must(cudaMalloc(&side.room, kRoomBytes), "cudaMalloc");
      must(cudaMalloc(&side.checks, sizeof(Checks)), "cudaMalloc");
      must(cudaMalloc(&side.gave_up, kWordBytes), "cudaMalloc");
      must(cudaHostAlloc(&side.page, sizeof(HostPage), cudaHostAllocPortable), "cudaHostAlloc");
    }
    for (Side& side : sides_) {
      const StoreArea regions[4] = {{sides_[0].room, kRoomBytes},
                                    {sides_[1].room, kRoomBytes},
                                    {sides_[0].words, kWordBytes * kWordsOfSide},
                                    {sides_[1].words, kWordBytes * kWordsOfSide}};
      must(cudaMalloc(&side.regions, sizeof(regions)), "cudaMalloc");
      must(cudaMemcpy(side.regions, regions, sizeof(regions), cudaMemcpyHostToDevice), "cudaMemcpy");
    }
    clear();
  }
  Stage(const Stage&) = delete;

  using Scatter = ScatterPipe;
  using Reduce = ReducePipe;
  using Setting = gpu::Setting;
  static constexpr int kUncounted = 1;
  static constexpr uint32_t kPieces[] = {256, 4096, 8192};
  static constexpr bool kStaged[] = {false};  // on a mapped rail it is all one
  static constexpr uint32_t kElementsMost = 7168;
  static constexpr uint64_t kLateNs = 5'000'000'000;
  static constexpr bool kHearsOfDone = true;

  rungs::Ledger ledger;
  static uint64_t rounds(uint64_t n) { return n; }
  static uint64_t scaled(uint64_t n) { return n; }
  int gpus() const { return gpus_; }
  HostPage& page(int side) { return *sides_[side].page; }
  const Word* gave_up(int side) const { return reinterpret_cast<const Word*>(sides_[side].gave_up); }
  char* room(int side) { return sides_[side].room; }
  Word word(int side, int i) {
    Word value;
    must(cudaMemcpy(&value, sides_[side].words + kWordBytes * size_t(i), sizeof(value), cudaMemcpyDefault), "word");
    return value;
  }
  void set_word(int side, int i, Word value) {
    bring(side, sides_[side].words + kWordBytes * size_t(i), &value, sizeof(value));
  }
  // The first bytes of a side's room.
  void fill(int side, int value, size_t bytes) {
    use(side);
    must(cudaMemset(sides_[side].room, value, bytes), "cudaMemset");
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  void write(int side, size_t at, const void* from, size_t bytes) { bring(side, sides_[side].room + at, from, bytes); }
  std::vector<char> read(int side, size_t at, size_t bytes) {
    std::vector<char> result(bytes);
    must(cudaMemcpy(result.data(), sides_[side].room + at, bytes, cudaMemcpyDefault), "cudaMemcpy");
    return result;
  }
  void use(int side) const { must(cudaSetDevice(sides_[side].device), "cudaSetDevice"); }
  // All words 0, nobody has failed.
  void clear() {
    for (int s = 0; s < 2; ++s) {
      use(s);
      must(cudaMemset(sides_[s].words, 0, kWordBytes * kWordsOfSide), "cudaMemset");
      must(cudaMemset(sides_[s].gave_up, 0, kWordBytes), "cudaMemset");
      must(cudaMemset(sides_[s].checks, 0, sizeof(Checks)), "cudaMemset");
      std::memset(sides_[s].page, 0, sizeof(HostPage));
      must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  }

  // Agents of side 0 and of side 1; returns at once.
  template <class Pipe, class Rail = MappedRail, class Rung>
  void start(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    static_assert(kStageBytesMin % kLineBytes == 0);
    const uint32_t tail_room = 512;
    const NearShape near{setting.piece_bytes,  std::max(kStageBytesMin, setting.piece_bytes + tail_room),
                         kTableBytes,          setting.publish_every,
                         setting.credit_every, nullptr};
    const int bytes = int(near.bytes_of_warp() * kWarpsOfAgentBlock);
    const auto kernel = agents_kernel<Pipe, Rail, Rung>;
    for (int s = 0; s < 2; ++s) {  // loaded everywhere before anyone waits for another
      use(s);
      must(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "cudaFuncSetAttribute");
    }
    for (int s = 0; s < 2; ++s) {
      if (agents[s] == 0) continue;
      use(s);
      Side& side = sides_[s];
      const CudaRank rank{reinterpret_cast<Word*>(side.gave_up),
                          &side.page->abort,
                          &side.page->fault,
                          &side.page->waits_for,
                          setting.deadline_ns,
                          nullptr,
                          nullptr};
      const Scene scene{rank,
                        {side.regions, 4, {setting.own[s], {}}},
                        setting.queues[s],
                        near,
                        {sides_[0].words, sides_[1].words},
                        {sides_[0].room, sides_[1].room},
                        side.checks,
                        s,
                        agents[s],
                        ledger.spoil};
      const int blocks = (agents[s] + kWarpsOfAgentBlock - 1) / kWarpsOfAgentBlock;
      kernel<<<blocks, kWarpsOfAgentBlock * 32, bytes, side.stream>>>(scene, rung);
      must(cudaGetLastError(), "launch");
    }
  }
  void finish() {
    for (int s = 0; s < 2; ++s) {
      use(s);
      must(cudaStreamSynchronize(sides_[s].stream), "cudaStreamSynchronize");
      Checks checks;
      must(cudaMemcpy(&checks, sides_[s].checks, sizeof(checks), cudaMemcpyDeviceToHost), "cudaMemcpy");
      must(cudaMemset(sides_[s].checks, 0, sizeof(Checks)), "cudaMemset");
      must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
      ledger.add(checks, s);
    }
  }
  rungs::Ended ended(int side) {
    using rungs::EndedBy;
    const DeviceFault& fault = page(side).fault;
    const auto failure = DeviceFailure(fault.set);
    return {.by = failure == DeviceFailure::kExpired   ? EndedBy::kDeadline
                  : failure == DeviceFailure::kBroken  ? EndedBy::kBroken
                  : failure == DeviceFailure::kAborted ? EndedBy::kHost
                                                       : EndedBy::kThemselves,
            .role = Role(fault.role),
            .channel = int(int64_t(fault.channel)),
            .what = int(fault.what),
            .whom = fault.whom,
            .seen = fault.seen,
            .expected = fault.expected};
  }
  bool hears(int side, Waiting what, Word whom) {
    const WaitsFor& waits_for = page(side).waits_for;
    const Word& last = what == Waiting::kDone ? waits_for.to_finish : waits_for.peer;
    for (int i = 0; i < 10000; ++i) {
      if (__atomic_load_n(&last, __ATOMIC_ACQUIRE) == whom + 1) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  void stop(int side) { __atomic_store_n(&page(side).abort, 1, __ATOMIC_RELEASE); }
  template <class Pipe, class Rail = MappedRail, class Rung>
  void play(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    start<Pipe, Rail>(rung, agents, setting);
    finish();
    for (int s = 0; s < 2; ++s)
      if (sides_[s].page->fault.set != 0) ledger.eq(sides_[s].page->fault.set, 0, "fault of side " + std::to_string(s));
  }

 private:
  struct Side {
    int device = 0;
    cudaStream_t stream = nullptr;
    char *words = nullptr, *room = nullptr, *gave_up = nullptr;
    StoreArea* regions = nullptr;
    Checks* checks = nullptr;
    HostPage* page = nullptr;
  };
  // From memory that is not pinned a copy may still be under way when it returns, and kernels on other streams do not
  // wait for it.
  void bring(int side, void* to, const void* from, size_t bytes) {
    use(side);
    must(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
    must(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  int gpus_;
  Side sides_[2];
};

// How many GPUs can be sides: 2 if they reach each other, 0 if there is none.
inline int gpus_for_stage() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return 0;
  int there = 0, back = 0;
  if (count == 1 || cudaDeviceCanAccessPeer(&there, 0, 1) != cudaSuccess ||
      cudaDeviceCanAccessPeer(&back, 1, 0) != cudaSuccess || there == 0 || back == 0)
    return 1;
  return 2;
}

}  // namespace transload::gpu
