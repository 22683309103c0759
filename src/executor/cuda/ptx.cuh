// The instructions that CUDA C++ has no name for: all inline assembly of the library is here.
//
// "Near" memory is the shared memory of a block. The bulk copy engine sees memory over a path of its own, apart from
// that of loads and stores; PTX calls it the async proxy.
#pragma once
#include <cstdint>

#include "base/word.h"

#define TRANSLOAD_DEVICE __device__ __forceinline__

namespace transload::ptx {

// An address in near memory, as the instructions below take it. Callers keep the address, else the compiler computes it
// again at every use.
TRANSLOAD_DEVICE uint32_t near_address(const void* p) {
  uint32_t address;
  asm volatile("{ .reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a; }" : "=r"(address) : "l"(p));
  return address;
}

// A barrier of 8 bytes in near memory that counts bytes of bulk loads, with one arrival a phase.
TRANSLOAD_DEVICE void barrier_init(uint32_t barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
}
TRANSLOAD_DEVICE void barrier_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Bytes that were asked for always come, or the context is lost: this wait needs no deadline.
TRANSLOAD_DEVICE void barrier_wait(uint32_t barrier, uint32_t phase) {
  uint32_t done;
  do {
    asm volatile(
        "{ .reg .pred p;\n"
        "  mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "  selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(barrier), "r"(phase)
        : "memory");
  } while (done == 0);
}
// Lets the bulk copy engine see which barriers were initialised.
TRANSLOAD_DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Bulk moves: addresses and bytes are multiples of 16.
TRANSLOAD_DEVICE void bulk_load(uint32_t near, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(near),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
TRANSLOAD_DEVICE void bulk_store(void* to, uint32_t near, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(near), "r"(bytes)
               : "memory");
}
// Makes a group of this thread's bulk stores since its last group.
TRANSLOAD_DEVICE void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until all but the latest kGroups groups of this thread have read their sources.
template <int kGroups>
TRANSLOAD_DEVICE void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kGroups) : "memory");
}
// Waits until all but the latest kGroups groups of this thread have landed.
template <int kGroups>
TRANSLOAD_DEVICE void bulk_wait_landed() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kGroups) : "memory");
}

// Orders what loads and stores of this thread saw and did before what the copy engine does after. engine_fence_near()
// does so for near memory alone, which is cheaper.
TRANSLOAD_DEVICE void engine_fence() { asm volatile("fence.proxy.async;" ::: "memory"); }
TRANSLOAD_DEVICE void engine_fence_near() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Words between GPUs, and between a GPU and its host: order.cuh says what they are for.
TRANSLOAD_DEVICE Word load_acquire(const Word* at) {
  Word value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
  return value;
}
TRANSLOAD_DEVICE Word load_relaxed(const Word* at) {
  Word value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
  return value;
}
TRANSLOAD_DEVICE void store_relaxed(Word* at, Word value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(at), "l"(value) : "memory");
}
TRANSLOAD_DEVICE void store_release(Word* at, Word value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(at), "l"(value) : "memory");
}
// Makes the relaxed stores that follow release stores.
TRANSLOAD_DEVICE void release_fence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }
// Adds one to a word that this GPU alone changes, with acquire and release, and returns what it was. Whoever comes last
// may publish for all, to other GPUs too: what it has acquired goes with its own release.
TRANSLOAD_DEVICE Word add_one(Word* at) {
  Word value;
  asm volatile("atom.add.acq_rel.gpu.global.u64 %0, [%1], 1;" : "=l"(value) : "l"(at) : "memory");
  return value;
}

// Loads from near memory and stores to it, which the compiler does not move: the bytes of a stage are there only after
// the wait for its barrier.
TRANSLOAD_DEVICE uint4 near_load128(uint32_t at) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(at)
               : "memory");
  return value;
}
TRANSLOAD_DEVICE void near_store128(uint32_t at, const uint4& value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

// Loads that the compiler neither moves nor drops; an acquire before them makes what it covers visible.
TRANSLOAD_DEVICE uint16_t load16(const void* at) {
  uint16_t value;
  asm volatile("ld.b16 %0, [%1];" : "=h"(value) : "l"(at) : "memory");
  return value;
}
TRANSLOAD_DEVICE uint32_t load32(const void* at) {
  uint32_t value;
  asm volatile("ld.b32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}
TRANSLOAD_DEVICE uint64_t load64(const void* at) {
  uint64_t value;
  asm volatile("ld.b64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
  return value;
}
TRANSLOAD_DEVICE uint4 load128(const void* at) {
  uint4 value;
  asm volatile("ld.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(at)
               : "memory");
  return value;
}

TRANSLOAD_DEVICE uint64_t now_ns() {
  uint64_t value;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(value));
  return value;
}

}  // namespace transload::ptx
