// Litmus tests of what stands under every count: bytes by the bulk copy engine or plain stores, a release, an acquire,
// and who reads then. Between two GPUs, or between blocks of one.
//
//   litmus_check [--spoil]     a line a test; exits 1 if a promise was broken, 77 without a GPU; 20 s at most
//
// --spoil: the first word that a reader compares must come out wrong, and every test that reads rows must be red.
// Weakened orders are tried too. What they show is printed and judged by nobody: hardware may be stronger than asked.
#include <cuda/atomic>
#include <string>

#include "tests/gpu/agents.cuh"

namespace transload::gpu {
namespace {

constexpr int kRings = 4;  // from each side to the other
constexpr uint32_t kRowBytesMax = 14336;
constexpr uint64_t kStuckNs = 8'000'000'000;

enum class Reader : uint32_t { kPlain, kEngine };
enum class Order : uint32_t {
  kFull,
  kRelaxedPublish,  // the count is stored without release
  kReadOnly,        // and before the bytes have landed: they were only read from near memory
  kNoObserveFence,  // the engine reads what was acquired, without the fence
};

// One ring, as both its ends see it. Words lie where their reader is.
struct Ring {
  char* slots;
  Word *tail, *head, *last;  // last: 1 + how many rows there will be
  uint64_t slots_count;
};
struct RingLaunch {
  Ring produced[kRings], consumed[kRings];
  Checks* checks;  // of this side
  uint32_t row_bytes;
  uint64_t rows, time_ns;
  Reader reader;
  Order order;
  bool spoil;
};

TRANSLOAD_DEVICE Word value_of(uint64_t row, uint64_t k) {
  return row * 0x9E3779B97F4A7C15u + k * 0xD1B54A32D192ED03u + 1;
}

// Called by the whole warp. False: it took far too long.
TRANSLOAD_DEVICE bool reached(const Word* word, Word least) {
  bool there = true;
  if (lane_of_thread() == 0) {
    const uint64_t begin = ptx::now_ns();
    while (there && ptx::load_acquire(word) < least) there = ptx::now_ns() - begin < kStuckNs;
  }
  return __shfl_sync(kAllLanes, there, 0);
}

TRANSLOAD_DEVICE void produce(const RingLaunch& launch, const Ring& ring, char* near, rungs::Tally& tally) {
  const int lane = lane_of_thread();
  const uint64_t begin = ptx::now_ns();
  uint64_t i = 0;
  for (; i < launch.rows; ++i) {
    if (__any_sync(kAllLanes, i % 64 == 0 && ptx::now_ns() - begin > launch.time_ns)) break;
    if (i >= ring.slots_count && !reached(ring.head, i + 1 - ring.slots_count)) break;
    for (uint32_t k = uint32_t(lane); k < launch.row_bytes / 8; k += 32)
      reinterpret_cast<Word*>(near)[k] = value_of(i, k);
    ptx::engine_fence();  // for the bytes, and for the slot that was acquired
    __syncwarp();
    if (lane == 0) {
      ptx::bulk_store(ring.slots + i % ring.slots_count * launch.row_bytes, ptx::near_address(near), launch.row_bytes);
      ptx::bulk_commit();
      if (launch.order == Order::kReadOnly)
        ptx::bulk_wait_read<0>();
      else
        ptx::bulk_wait_landed<0>();
      if (launch.order == Order::kFull || launch.order == Order::kNoObserveFence)
        ptx::store_release(ring.tail, i + 1);
      else
        ptx::store_relaxed(ring.tail, i + 1);
    }
    __syncwarp();
  }
  if (lane == 0) {
    ptx::bulk_wait_landed<0>();
    ptx::store_release(ring.last, i + 1);
  }
  tally.eq(i > 0, true, __LINE__);
}

// How the consumer learns of a row: the tail, or that there are no more.
TRANSLOAD_DEVICE bool row_comes(const Ring& ring, uint64_t i, rungs::Tally& tally) {
  Word state = 0;  // 1: it is here; 2: there is none; 3: stuck
  if (lane_of_thread() == 0) {
    const uint64_t begin = ptx::now_ns();
    while (state == 0) {
      if (ptx::load_acquire(ring.tail) > i) {
        state = 1;
        break;
      }
      const Word last = ptx::load_acquire(ring.last);
      if (last != 0 && last - 1 <= i) state = 2;
      if (ptx::now_ns() - begin > kStuckNs) state = 3;
    }
  }
  state = __shfl_sync(kAllLanes, state, 0);
  if (state == 3) tally.eq(state, 1, __LINE__);
  return state == 1;
}

struct Engine {
  uint32_t barrier;
  uint32_t phase = 0;
};
TRANSLOAD_DEVICE const Word* load_row(const char* from, uint32_t bytes, char* near, Engine& engine) {
  if (lane_of_thread() == 0) {
    ptx::barrier_expect(engine.barrier, bytes);
    ptx::bulk_load(ptx::near_address(near), from, bytes, engine.barrier);
  }
  ptx::barrier_wait(engine.barrier, engine.phase);
  engine.phase ^= 1;
  return reinterpret_cast<const Word*>(near);
}

TRANSLOAD_DEVICE void consume(const RingLaunch& launch, const Ring& ring, char* near, rungs::Tally& tally) {
  __shared__ uint64_t barriers[2 * kRings];
  Engine engine{ptx::near_address(barriers + threadIdx.x / 32)};
  if (lane_of_thread() == 0) {
    ptx::barrier_init(engine.barrier);
    ptx::barrier_init_fence();
    ptx::engine_fence_near();
  }
  __syncwarp();
  for (uint64_t i = 0; row_comes(ring, i, tally); ++i) {
    const char* const slot = ring.slots + i % ring.slots_count * launch.row_bytes;
    if (launch.reader == Reader::kEngine) {
      if (launch.order != Order::kNoObserveFence) ptx::engine_fence();
      __syncwarp();
      const Word* const row = load_row(slot, launch.row_bytes, near, engine);
      for (uint32_t k = threadIdx.x % 32; k < launch.row_bytes / 8; k += 32) tally.eq(row[k], value_of(i, k), __LINE__);
    } else {
      for (uint32_t k = threadIdx.x % 32; k < launch.row_bytes / 8; k += 32)
        tally.eq(ptx::load64(slot + k * 8), value_of(i, k), __LINE__);
    }
    __syncwarp();
    if (lane_of_thread() == 0) ptx::store_release(ring.head, i + 1);
  }
}

__global__ void __launch_bounds__(2 * kRings * 32, 1) ring_kernel(const __grid_constant__ RingLaunch launch) {
  extern __shared__ __align__(128) char near[];
  const int warp = int(threadIdx.x) / 32;
  char* const mine = near + warp * launch.row_bytes;
  rungs::Tally tally;
  tally.spoil = launch.spoil && warp >= kRings;
  if (warp < kRings)
    produce(launch, launch.produced[warp], mine, tally);
  else
    consume(launch, launch.consumed[warp - kRings], mine, tally);
  add(tally, *launch.checks);
}

// Store buffering: each stores into the other's memory and then looks into its own.
struct BufferLaunch {
  Word *stored, *looked, *found;  // [rounds]; stored: at the other
  Word *mine, *theirs;            // where the two meet before each round
  uint64_t rounds;
  bool fenced;
};
__global__ void buffer_kernel(const __grid_constant__ BufferLaunch launch) {
  for (uint64_t i = 0; i < launch.rounds; ++i) {
    ptx::store_release(launch.theirs, i + 1);
    const uint64_t begin = ptx::now_ns();
    while (ptx::load_acquire(launch.mine) < i + 1)
      if (ptx::now_ns() - begin > kStuckNs) return;
    ptx::store_relaxed(launch.stored + i, 1);
    if (launch.fenced) cuda::atomic_thread_fence(cuda::memory_order_seq_cst, cuda::thread_scope_system);
    launch.found[i] = 2 + ptx::load_relaxed(launch.looked + i);
  }
}

// A count of this call covers what another warp put in an earlier call: put_kernel, then count_kernel of one stream.
struct CallLaunch {
  char* slots;  // [kPutters] rows
  Word *tail, *head;
  uint64_t calls, call;
  Checks* checks;
  bool engine, spoil;
};
constexpr int kPutters = 8;
constexpr uint32_t kCallRowBytes = 4096;
__global__ void put_kernel(const __grid_constant__ CallLaunch launch) {
  __shared__ __align__(128) Word near[kCallRowBytes / 8];
  rungs::Tally tally;
  if (launch.checks->wrong != 0) return;                        // stuck before: do not wait again
  tally.eq(reached(launch.head, launch.call), true, __LINE__);  // the row of the last call has been read
  for (uint32_t k = threadIdx.x; k < kCallRowBytes / 8; k += 32)
    near[k] = value_of(launch.call * kPutters + blockIdx.x, k);
  ptx::engine_fence_near();
  __syncwarp();
  if (threadIdx.x == 0) {
    ptx::bulk_store(launch.slots + blockIdx.x * kCallRowBytes, ptx::near_address(near), kCallRowBytes);
    ptx::bulk_commit();
    ptx::bulk_wait_landed<0>();
  }
  add(tally, *launch.checks);
}
__global__ void count_kernel(const __grid_constant__ CallLaunch launch) {
  if (threadIdx.x == 0) ptx::store_release(launch.tail, launch.call + 1);
}
__global__ void call_reader_kernel(const __grid_constant__ CallLaunch launch) {
  __shared__ __align__(128) char near[kCallRowBytes];
  __shared__ uint64_t barrier;
  Engine engine{ptx::near_address(&barrier)};
  if (threadIdx.x == 0) {
    ptx::barrier_init(engine.barrier);
    ptx::barrier_init_fence();
    ptx::engine_fence_near();
  }
  __syncwarp();
  rungs::Tally tally;
  tally.spoil = launch.spoil;
  for (uint64_t call = 0; call < launch.calls; ++call) {
    const bool there = reached(launch.tail, call + 1);
    tally.eq(there, true, __LINE__);
    if (!there) break;
    ptx::engine_fence();
    __syncwarp();
    for (uint64_t row = 0; row < kPutters; ++row) {
      const char* const slot = launch.slots + row * kCallRowBytes;
      const Word* at = launch.engine ? load_row(slot, kCallRowBytes, near, engine) : nullptr;
      for (uint32_t k = threadIdx.x; k < kCallRowBytes / 8; k += 32)
        tally.eq(at != nullptr ? at[k] : ptx::load64(slot + k * 8), value_of(call * kPutters + row, k), __LINE__);
      ptx::engine_fence_near();
      __syncwarp();
    }
    if (threadIdx.x == 0) ptx::store_release(launch.head, call + 1);
  }
  add(tally, *launch.checks);
}

// Memory of both sides, and the tests.
class Litmus {
 public:
  Litmus(int gpus, bool spoil) : spoil_(spoil) {
    for (int s = 0; s < 2; ++s) {
      device_[s] = s % gpus;
      use(s);
      if (gpus == 2) must(cudaDeviceEnablePeerAccess(1 - device_[s], 0), "cudaDeviceEnablePeerAccess");
      must(cudaStreamCreateWithFlags(&stream_[s], cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
      must(cudaMalloc(&memory_[s], kBytes), "cudaMalloc");
      must(cudaMalloc(&checks_[s], sizeof(Checks)), "cudaMalloc");
      must(cudaFuncSetAttribute(ring_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 2 * kRings * kRowBytesMax),
           "cudaFuncSetAttribute");
      cudaFuncAttributes loaded;
      must(cudaFuncGetAttributes(&loaded, buffer_kernel), "cudaFuncGetAttributes");
      must(cudaFuncGetAttributes(&loaded, put_kernel), "cudaFuncGetAttributes");
      must(cudaFuncGetAttributes(&loaded, count_kernel), "cudaFuncGetAttributes");
      must(cudaFuncGetAttributes(&loaded, call_reader_kernel), "cudaFuncGetAttributes");
    }
  }

  // Rings both ways.
  struct Rows {
    uint32_t row_bytes;
    uint64_t rows, slots, time_ms;
    Reader reader;
    Order order = Order::kFull;
  };
  void rings(const std::string& name, const Rows& r) {
    clear();
    RingLaunch launch[2];
    for (int s = 0; s < 2; ++s) {
      launch[s].checks = checks_[s];
      launch[s].row_bytes = r.row_bytes;
      launch[s].rows = r.rows;
      launch[s].time_ns = r.time_ms * 1'000'000;
      launch[s].reader = r.reader;
      launch[s].order = r.order;
      launch[s].spoil = spoil_;
      for (int ring = 0; ring < kRings; ++ring) {
        const Ring made{memory_[1 - s] + kSlotsAt + uint64_t(ring) * r.slots * r.row_bytes, word(1 - s, ring),
                        word(s, 100 + ring), word(1 - s, 200 + ring), r.slots};
        launch[s].produced[ring] = launch[1 - s].consumed[ring] = made;
      }
    }
    for (int s = 0; s < 2; ++s) {
      use(s);
      ring_kernel<<<1, 2 * kRings * 32, 2 * kRings * r.row_bytes, stream_[s]>>>(launch[s]);
      must(cudaGetLastError(), "launch");
    }
    finish();
    uint64_t rows = 0;
    for (int s = 0; s < 2; ++s)
      for (int ring = 0; ring < kRings; ++ring) rows += value(word(s, 200 + ring)) - 1;
    const bool judged = r.order == Order::kFull;
    tell(name + ": " + std::to_string(rows) + " rows of " + std::to_string(r.row_bytes) + " bytes, read by " +
             (r.reader == Reader::kPlain ? "loads" : "the engine"),
         judged);
  }

  void buffering(bool fenced) {
    constexpr uint64_t kRounds = 50000;
    clear();
    BufferLaunch launch[2];
    for (int s = 0; s < 2; ++s) {
      const auto at = [&](int side, int array) {
        return reinterpret_cast<Word*>(memory_[side] + kSlotsAt) + uint64_t(array) * kRounds;
      };
      launch[s] = {at(1 - s, 0), at(s, 0), at(s, 1), word(s, 0), word(1 - s, 0), kRounds, fenced};
    }
    for (int s = 0; s < 2; ++s) {
      use(s);
      buffer_kernel<<<1, 1, 0, stream_[s]>>>(launch[s]);
      must(cudaGetLastError(), "launch");
    }
    finish();
    std::vector<Word> found[2];
    for (int s = 0; s < 2; ++s) {
      found[s].resize(kRounds);
      must(cudaMemcpy(found[s].data(), launch[s].found, kRounds * 8, cudaMemcpyDefault), "cudaMemcpy");
    }
    uint64_t neither = 0, both = 0, ran = 0;
    for (uint64_t i = 0; i < kRounds; ++i) {
      ran += found[0][i] >= 2 && found[1][i] >= 2;
      neither += found[0][i] == 2 && found[1][i] == 2;
      both += found[0][i] == 3 && found[1][i] == 3;
    }
    ledger_.done += ran;
    if (ran != kRounds) wrong("only " + std::to_string(ran) + " rounds");
    if (neither != 0) wrong("neither side saw the other's store in " + std::to_string(neither) + " rounds");
    tell(std::string("store buffering, ") + (fenced ? "a fence between" : "nothing between") + ": " +
             std::to_string(kRounds) + " rounds, both saw each other in " + std::to_string(both),
         fenced);
  }

  void calls(bool engine) {
    constexpr uint64_t kCalls = 300;
    clear();
    CallLaunch launch{memory_[1] + kSlotsAt, word(1, 0), word(0, 0), kCalls, 0, checks_[1], engine, spoil_};
    use(1);
    call_reader_kernel<<<1, 32, 0, stream_[1]>>>(launch);
    must(cudaGetLastError(), "launch");
    use(0);
    launch.checks = checks_[0];
    for (launch.call = 0; launch.call < kCalls; ++launch.call) {
      put_kernel<<<kPutters, 32, 0, stream_[0]>>>(launch);
      count_kernel<<<1, 32, 0, stream_[0]>>>(launch);
      must(cudaGetLastError(), "launch");
    }
    finish();
    tell(std::string("a count covers an earlier kernel's puts: ") + std::to_string(kCalls) + " calls of " +
             std::to_string(kPutters) + " warps, read by " + (engine ? "the engine" : "loads"),
         true);
  }

  bool good() const { return good_; }

 private:
  static constexpr size_t kBytes = size_t(96) << 20, kSlotsAt = 1 << 20;

  void use(int side) const { must(cudaSetDevice(device_[side]), "cudaSetDevice"); }
  Word* word(int side, int i) const { return reinterpret_cast<Word*>(memory_[side] + kWordBytes * size_t(i)); }
  static Word value(const Word* at) {
    Word v;
    must(cudaMemcpy(&v, at, sizeof(v), cudaMemcpyDefault), "cudaMemcpy");
    return v;
  }
  void clear() {
    ledger_ = {};
    for (int s = 0; s < 2; ++s) {
      use(s);
      must(cudaMemset(memory_[s], 0, kBytes), "cudaMemset");
      must(cudaMemset(checks_[s], 0, sizeof(Checks)), "cudaMemset");
      must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  }
  void finish() {
    for (int s = 0; s < 2; ++s) {
      use(s);
      must(cudaStreamSynchronize(stream_[s]), "cudaStreamSynchronize");
      Checks checks;
      must(cudaMemcpy(&checks, checks_[s], sizeof(checks), cudaMemcpyDeviceToHost), "cudaMemcpy");
      ledger_.add(checks, s);
    }
  }
  void wrong(const std::string& what) {
    ++ledger_.wrong;
    if (ledger_.first.empty()) ledger_.first = what;
  }
  void tell(const std::string& what, bool judged) {
    const bool right = ledger_.wrong == 0 && ledger_.done > 0;
    if (judged) good_ = good_ && right != spoil_;
    const char* const verdict = judged ? (right ? "ok    " : "FAILED") : "info  ";
    std::printf("%s %s; %llu words wrong of %llu%s%s\n", verdict, what.c_str(), (unsigned long long)ledger_.wrong,
                (unsigned long long)ledger_.done, ledger_.first.empty() ? "" : "; first: ", ledger_.first.c_str());
    std::fflush(stdout);
  }

  const bool spoil_;
  int device_[2];
  cudaStream_t stream_[2];
  char* memory_[2];
  Checks* checks_[2];
  rungs::Ledger ledger_;
  bool good_ = true;
};

int run_litmus(bool spoil) {
  const int gpus = gpus_for_stage();
  if (gpus == 0) {
    std::printf("skipped: no GPU here\n");
    return 77;
  }
  std::printf("between %s\n", gpus == 2 ? "two GPUs" : "two blocks of one GPU");
  Litmus litmus(gpus, spoil);
  for (const Reader reader : {Reader::kPlain, Reader::kEngine}) {
    for (uint32_t bytes : {64, 128, 256, 512, 1024, 4096, 14336})
      litmus.rings("message passing", {bytes, 20000, 16, 400, reader});
    litmus.rings("publish after put, on the heels", {64, 131072, 32768, 3000, reader});
  }
  if (!spoil) litmus.buffering(true);
  for (bool engine : {false, true}) litmus.calls(engine);
  if (spoil) {
    std::printf("%s\n", litmus.good() ? "all of it red, as it should be" : "a test that should be red is not");
    return litmus.good() ? 0 : 1;
  }
  litmus.rings("weakened: a relaxed publish", {512, 20000, 4096, 500, Reader::kPlain, Order::kRelaxedPublish});
  litmus.rings("weakened: published before it landed", {512, 20000, 4096, 500, Reader::kPlain, Order::kReadOnly});
  litmus.rings("weakened: no fence for the engine", {512, 20000, 16, 500, Reader::kEngine, Order::kNoObserveFence});
  litmus.buffering(false);
  std::printf("%s\n", litmus.good() ? "every promise was kept" : "a promise was broken");
  return litmus.good() ? 0 : 1;
}

}  // namespace
}  // namespace transload::gpu

int main(int argc, char** argv) {
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);  // nothing is loaded while kernels wait for each other
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  return transload::gpu::run_litmus(argc == 2 && std::strcmp(argv[1], "--spoil") == 0);
}
