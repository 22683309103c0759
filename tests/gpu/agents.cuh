// Warps of one or two GPUs as agents of a rung, and the ledger of what they compared.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "executor/cuda/warp.cuh"

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

// Of one thread. `spoil`: the first comparison must come out wrong, to show that it counts.
struct Tally {
  uint32_t done = 0, wrong = 0;
  int line = 0;
  Word seen = 0, expected = 0;
  bool spoil = false;

  TRANSLOAD_DEVICE void eq(Word found, Word right, int where) {
    if (spoil && done == 0) right ^= 1;
    ++done;
    if (found == right || wrong++ != 0) return;
    line = where, seen = found, expected = right;
  }
  TRANSLOAD_DEVICE void add_to(Checks& all) const {
    atomicAdd(&all.done, (unsigned long long)done);
    if (wrong == 0) return;
    atomicAdd(&all.wrong, (unsigned long long)wrong);
    if (atomicCAS(&all.line, 0ull, (unsigned long long)line) != 0) return;
    all.seen = seen, all.expected = expected;
  }
};

// What kernels of a side get. Words and rooms of both sides; a word lies where its reader is.
struct Scene {
  CudaRank rank;  // without areas
  StoreAreas areas;
  NearShape near;
  char* words[2];
  char* room[2];
  Checks* checks;
  int side, agents;
  bool spoil;

  TRANSLOAD_HD Word* word(int of, int i) const { return reinterpret_cast<Word*>(words[of] + kWordBytes * size_t(i)); }
};

template <class W>
struct Agent {
  W& w;
  const Scene& scene;
  const int side, number;
  Tally tally;

  TRANSLOAD_DEVICE Word* word(int of, int i) const { return scene.word(of, i); }
  TRANSLOAD_DEVICE char* room(int of) const { return scene.room[of]; }
  TRANSLOAD_DEVICE Word* mine(int i) const { return scene.word(side, i); }
  // What this warp wrote by plain stores may be moved from now on: what an acquire gives too.
  TRANSLOAD_DEVICE void wrote() const {
    ptx::proxy_fence();
    __syncwarp();
  }
  TRANSLOAD_DEVICE bool await(Word* at, Word least, uint32_t whom, Waiting what = Waiting::kTokens) {
    const Set one = Set::only(0);
    auto seen = w.template per<Word>(one, [](Lane) { return Word(0); });
    return !w.wait_all(
                 one,
                 [&](Lane) {
                   return Need{at, least, whom, what};
                 },
                 seen)
                .empty();
  }
  TRANSLOAD_DEVICE void publish(Word* at, Word count) {
    w.publish(Set::only(0), [&](Lane) { return Mark<PeerWord>{{at, 0}, count}; });
  }
  TRANSLOAD_DEVICE void credit(Word* at, Word count) {
    w.credit(Set::only(0), [&](Lane) { return Mark<PeerWord>{{at, 0}, count}; });
  }
};

template <class Pipe, class Rung>
__global__ void __launch_bounds__(kWarpsOfAgentBlock * 32, 1)
    agents_kernel(const __grid_constant__ Scene scene, const __grid_constant__ Rung rung) {
  extern __shared__ __align__(128) char near[];
  __shared__ StageDesk desks[kWarpsOfAgentBlock];
  const int warp = int(threadIdx.x) / 32, number = int(blockIdx.x) * kWarpsOfAgentBlock + warp;
  if (number >= scene.agents) return;
  char* const mine = near + warp * scene.near.bytes_of_warp();
  CudaRank rank = scene.rank;
  rank.areas = &scene.areas;
  CudaWarp<Pipe> w(rank, Stages(mine, &desks[warp], scene.near.stage_bytes), scene.near,
                   mine + kStages * scene.near.stage_bytes);
  Agent<CudaWarp<Pipe>> agent{w, scene, scene.side, number, {}};
  agent.tally.spoil = scene.spoil;
  rung(agent);
  w.retire();
  agent.tally.add_to(*scene.checks);
}

// How the warps of a rung are set.
struct Setting {
  uint32_t publish_every = 8, credit_every = 4, piece_bytes = 4096;
  uint64_t deadline_ns = 20'000'000'000;
  StoreArea own{};  // of the caller, by these agents
};

// What a rung compared, on GPUs and here.
struct Ledger {
  bool spoil = false;
  uint64_t done = 0, wrong = 0;
  std::string first;

  void eq(uint64_t seen, uint64_t expected, const std::string& what) {
    if (spoil && done == 0) expected ^= 1;
    ++done;
    if (seen == expected) return;
    if (wrong++ == 0) first = what + " is " + std::to_string(seen) + ", must be " + std::to_string(expected);
  }
  void bytes(const void* seen, const void* expected, size_t count, const std::string& what) {
    const auto *s = static_cast<const uint8_t*>(seen), *e = static_cast<const uint8_t*>(expected);
    size_t at = 0;
    while (at < count && s[at] == e[at]) ++at;
    eq(at, count, what + ": how many bytes are right");
  }
  void add(const Checks& checks, int side) {
    done += checks.done;
    wrong += checks.wrong;
    if (checks.wrong != 0 && first.empty())
      first = "side " + std::to_string(side) + ", line " + std::to_string(checks.line) + ": " +
              std::to_string(checks.seen) + ", must be " + std::to_string(checks.expected);
  }
};

// What the host shares with the kernels of a side.
struct HostPage {
  alignas(128) Word abort;
  alignas(128) DeviceFault fault;
  alignas(128) Word waits_for[2];
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

  Ledger ledger;
  int gpus() const { return gpus_; }
  HostPage& page(int side) { return *sides_[side].page; }
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
  template <class Pipe, class Rung>
  void start(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    static_assert(kStageBytesMin % kLineBytes == 0);
    const uint32_t tail_room = 512;
    const NearShape near{setting.piece_bytes,  std::max(kStageBytesMin, setting.piece_bytes + tail_room),
                         kTableBytes,          setting.publish_every,
                         setting.credit_every, nullptr};
    const int bytes = int(near.bytes_of_warp() * kWarpsOfAgentBlock);
    const auto kernel = agents_kernel<Pipe, Rung>;
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
                          side.page->waits_for,
                          setting.deadline_ns,
                          nullptr};
      const Scene scene{rank,
                        {side.regions, 4, {setting.own, {}}},
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
  template <class Pipe, class Rung>
  void play(const Rung& rung, const int (&agents)[2], const Setting& setting = {}) {
    start<Pipe>(rung, agents, setting);
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
  void use(int side) const { must(cudaSetDevice(sides_[side].device), "cudaSetDevice"); }

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
