// Counts the allocations of a thread and refuses one of them, by an operator new that replaces the program's.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstdint>

namespace transload::test {

extern thread_local int64_t granted;  // so many are granted before one is refused; negative: all are granted
extern thread_local int64_t asked;    // how many were asked for

// For a thread that another part of the program runs, by its id: its next `refusals` allocations are refused.
extern std::atomic<pid_t> refused_thread;
extern std::atomic<int64_t> refusals;

}  // namespace transload::test
