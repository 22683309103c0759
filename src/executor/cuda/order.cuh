// Words that the blocks of one rank, and its host, tell each other, with their memory order.
#pragma once
#include <cuda/atomic>

#include "base/word.h"

namespace transload {

// An acquire: what its writer wrote before may then be read.
__device__ inline Word observed_here(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_device>(*const_cast<Word*>(word)).load(cuda::memory_order_acquire);
}

// Words that cover nothing: one of mine, and one of the host's.
__device__ inline Word glanced_here(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_device>(*const_cast<Word*>(word)).load(cuda::memory_order_relaxed);
}
__device__ inline Word glanced_at_host(const Word* word) {
  return cuda::atomic_ref<Word, cuda::thread_scope_system>(*const_cast<Word*>(word)).load(cuda::memory_order_relaxed);
}

// A release: what the block wrote, if it has met at a barrier since, may be read by whoever observes `count`.
__device__ inline void publish_here(Word* word, Word count) {
  cuda::atomic_ref<Word, cuda::thread_scope_device>(*word).store(count, cuda::memory_order_release);
}
__device__ inline void publish_to_host(Word* word, Word count) {
  cuda::atomic_ref<Word, cuda::thread_scope_system>(*word).store(count, cuda::memory_order_release);
}

// True for the one that makes the word 1.
__device__ inline bool first_to_set(Word* word) {
  Word before = 0;
  return cuda::atomic_ref<Word, cuda::thread_scope_device>(*word).compare_exchange_strong(before, 1,
                                                                                          cuda::memory_order_acq_rel);
}

__device__ inline void pause() { __nanosleep(20); }

}  // namespace transload
