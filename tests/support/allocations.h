// Allocations of a thread, counted, and one of them refused. Who includes this has its program's operator new replaced.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstdint>

namespace transload::test {

extern thread_local int64_t granted;  // so many are still granted before one is not; negative: all are
extern thread_local int64_t asked;

// The same of a thread that belongs to somebody else, by its id: so many allocations are refused from now on.
extern std::atomic<pid_t> refused_thread;
extern std::atomic<int64_t> refusals;

}  // namespace transload::test
