// Fibers on Boost.Context's raw fcontext, with our own words to the sanitizers: the fiber class of Boost tells them
// nothing.
#include "executor/fiber/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <transload/status.h>
#include <boost/context/detail/fcontext.hpp>
#include <string>

#include "base/check.h"
#include "base/math.h"
#include "executor/fiber/sanitizer.h"

namespace transload {
namespace {

namespace context = boost::context::detail;

// Frames are several times larger under a sanitizer.
constexpr size_t kStackBytes = (TRANSLOAD_ASAN || TRANSLOAD_TSAN ? 256 : 64) << 10;

// Stacks a power of two apart would meet in the same sets of the first cache; a prime number of lines spreads their
// tops.
constexpr size_t kColours = 61, kColourBytes = 64;

}  // namespace

struct Fibers::Fiber {
  Fibers* owner;
  char* bottom;
  size_t bytes;
  context::fcontext_t self = nullptr;    // where the fiber continues
  context::fcontext_t caller = nullptr;  // where the caller of resume() continues
  Entry entry = nullptr;                 // null in an idle fiber, which ends for ever when it is resumed
  void* argument = nullptr;
#if TRANSLOAD_ASAN
  void* fake_stack = nullptr;
  const void* caller_bottom = nullptr;
  size_t caller_bytes = 0;
#endif
#if TRANSLOAD_TSAN
  void* thread = nullptr;
  void* caller_thread = nullptr;
#endif
};

Fibers::Fibers(int count) : count_(count), fibers_(new Fiber[size_t(count)]) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), stack = round_up(kStackBytes + kColours * kColourBytes, page);
  slot_bytes_ = stack + page;
  const size_t bytes = slot_bytes_ * size_t(count);
  void* const arena = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) {
    throw Error(Code::kOutOfMemory, "stacks of " + std::to_string(count) + " fibers need " + std::to_string(bytes) +
                                        " bytes of address space");
  }
  arena_ = static_cast<char*>(arena);
  for (int i = 0; i < count; ++i) {
    char* const slot = arena_ + slot_bytes_ * size_t(i);
    if (mprotect(slot, page, PROT_NONE) != 0) {
      munmap(arena_, bytes);
      throw Error(Code::kOutOfMemory,
                  "guard pages of " + std::to_string(count) + " fibers need more mappings than this process may have");
    }
    fibers_[i].owner = this;
    fibers_[i].bottom = slot + page;
    fibers_[i].bytes = stack - size_t(i) % kColours * kColourBytes;
  }
}

Fibers::~Fibers() {
  for (int i = 0; i < count_; ++i) {
    const Fiber& fiber = fibers_[i];
    if (fiber.self == nullptr) continue;
    TRANSLOAD_CHECK(fiber.entry == nullptr);
    resume(i);
#if TRANSLOAD_TSAN
    __tsan_destroy_fiber(fiber.thread);
#endif
  }
#if TRANSLOAD_ASAN
  // The last frames never return, and whoever is mapped here next must not inherit their red zones.
  __asan_unpoison_memory_region(arena_, slot_bytes_ * size_t(count_));
#endif
  munmap(arena_, slot_bytes_ * size_t(count_));
}

// The life of a fiber: one entry after another, until it is resumed without one.
TRANSLOAD_UNWATCHED void Fibers::run_all(Fiber& fiber) {
  while (fiber.entry != nullptr) {
    fiber.entry(fiber.argument);
    fiber.entry = nullptr;
    fiber.owner->leave(fiber, false);
  }
  fiber.owner->leave(fiber, true);
}

void Fibers::start(int i, Entry entry, void* argument) {
  Fiber& fiber = fibers_[i];
  TRANSLOAD_CHECK(i < count_ && fiber.entry == nullptr);
  fiber.entry = entry;
  fiber.argument = argument;
  if (fiber.self != nullptr) return;
#if TRANSLOAD_TSAN
  fiber.thread = __tsan_create_fiber(0);
#endif
  fiber.self =
      context::make_fcontext(fiber.bottom + fiber.bytes, fiber.bytes, [](context::transfer_t from) TRANSLOAD_UNWATCHED {
        Fiber& mine = *static_cast<Fiber*>(from.data);
        mine.caller = from.fctx;
#if TRANSLOAD_ASAN
        __sanitizer_finish_switch_fiber(nullptr, &mine.caller_bottom, &mine.caller_bytes);
#endif
        run_all(mine);
      });
}

TRANSLOAD_UNWATCHED bool Fibers::resume(int i) {
  Fiber& fiber = fibers_[i];
  TRANSLOAD_CHECK(running_ == nullptr && fiber.self != nullptr);
  running_ = &fiber;
#if TRANSLOAD_ASAN
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.bottom, fiber.bytes);
#endif
#if TRANSLOAD_TSAN
  fiber.caller_thread = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber.thread, __tsan_switch_to_fiber_no_sync);
#endif
  fiber.self = context::jump_fcontext(fiber.self, &fiber).fctx;
#if TRANSLOAD_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  running_ = nullptr;
  return fiber.entry != nullptr;
}

void Fibers::suspend() {
  TRANSLOAD_CHECK(running_ != nullptr);
  leave(*running_, false);
}

TRANSLOAD_UNWATCHED void Fibers::leave(Fiber& fiber, [[maybe_unused]] bool for_good) {
#if TRANSLOAD_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, fiber.caller_bottom, fiber.caller_bytes);
#endif
#if TRANSLOAD_TSAN
  __tsan_switch_to_fiber(fiber.caller_thread, __tsan_switch_to_fiber_no_sync);
#endif
  fiber.caller = context::jump_fcontext(fiber.caller, nullptr).fctx;
#if TRANSLOAD_ASAN
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &fiber.caller_bottom, &fiber.caller_bytes);
#endif
}

}  // namespace transload
