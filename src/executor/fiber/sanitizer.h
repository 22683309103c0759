// What the sanitizers must be told about fibers; nothing in a normal build.
//
// Under TSan a fiber is a thread of its own and a switch orders nothing, so that a release or acquire missing between
// two warps is seen even if one thread runs both.
#pragma once

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define TRANSLOAD_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define TRANSLOAD_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define TRANSLOAD_TSAN 1
#define TRANSLOAD_UNWATCHED __attribute__((no_sanitize("thread")))
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#else
#define TRANSLOAD_TSAN 0
#define TRANSLOAD_UNWATCHED
#endif

namespace transload {

// TSan does not watch between these two calls. They stand around what fibers and their scheduler hand each other, which
// needs no order because one thread runs them all.
inline void unwatched_begin() {
#if TRANSLOAD_TSAN
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
inline void unwatched_end() {
#if TRANSLOAD_TSAN
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

struct Unwatched {
  Unwatched() { unwatched_begin(); }
  ~Unwatched() { unwatched_end(); }
  Unwatched(const Unwatched&) = delete;
};
// Stands inside an Unwatched, around code of others, which TSan watches as usual.
struct Watched {
  Watched() { unwatched_end(); }
  ~Watched() { unwatched_begin(); }
  Watched(const Watched&) = delete;
};

// These tell TSan of an order that does hold: what was written before sync_release(at) is seen after sync_acquire(at).
inline void sync_release([[maybe_unused]] void* at) {
#if TRANSLOAD_TSAN
  __tsan_release(at);
#endif
}
inline void sync_acquire([[maybe_unused]] void* at) {
#if TRANSLOAD_TSAN
  __tsan_acquire(at);
#endif
}

}  // namespace transload
