// Words of one rank's blocks, of other GPUs and of hosts, with their memory order: the only place where it is chosen.
//
// Functions named "here" hold for this GPU, the others for all GPUs and hosts. To observe is to acquire: what its
// writer wrote before may then be read. To glance and to show cover nothing. To publish is to release: what this thread
// wrote, and what it saw of others at a barrier, may be read by whoever observes the count.
#pragma once
#include <cuda/atomic>

#include "base/word.h"
#include "executor/cuda/ptx.cuh"

namespace transload {

TRANSLOAD_DEVICE Word observed(const Word* word) { return ptx::load_acquire(word); }
TRANSLOAD_DEVICE Word glanced(const Word* word) { return ptx::load_relaxed(word); }
TRANSLOAD_DEVICE void show_to_all(Word* word, Word value) { ptx::store_relaxed(word, value); }
TRANSLOAD_DEVICE void publish_to_all(Word* word, Word count) { ptx::store_release(word, count); }
// A release fence: words that this thread shows after this call count as published, as by publish_to_all().
TRANSLOAD_DEVICE void publish_what_follows() { ptx::release_fence(); }

__device__ inline Word observed_here(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_device>(*const_cast<Word*>(word)).load(cuda::memory_order_acquire);
}
__device__ inline Word glanced_here(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_device>(*const_cast<Word*>(word)).load(cuda::memory_order_relaxed);
}
__device__ inline void publish_here(Word* word, Word count) {
  cuda::atomic_ref<Word, cuda::thread_scope_device>(*word).store(count, cuda::memory_order_release);
}

// These do what glanced() and publish_to_all() do, for a host's words, but by generic loads and stores: with these the
// kernels of tables were measured.
__device__ inline Word glanced_at_host(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_system>(*const_cast<Word*>(word)).load(cuda::memory_order_relaxed);
}
__device__ inline void publish_to_host(Word* word, Word count) {
  cuda::atomic_ref<Word, cuda::thread_scope_system>(*word).store(count, cuda::memory_order_release);
}

// Adds one to the count of those that have arrived, and returns what it was. This observes and publishes. So the last
// one to arrive may publish for all, to other GPUs too.
TRANSLOAD_DEVICE Word arrive_here(Word* word) { return ptx::add_one(word); }
// Takes `count` numbers of a counter here and returns the first of them. This covers nothing.
TRANSLOAD_DEVICE Word take_here(Word* word, Word count) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(word), static_cast<unsigned long long>(count));
}

// True for the one thread that makes the word 1. This covers nothing.
TRANSLOAD_DEVICE bool first_to_set(Word* word) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(word), 0ull, 1ull) == 0;
}

__device__ inline void pause() { __nanosleep(20); }

}  // namespace transload
