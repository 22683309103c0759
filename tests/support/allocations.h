// Allocations of a thread, counted, and one of them refused. Who includes this has its program's operator new replaced.
#pragma once
#include <cstdint>

namespace transload::test {

extern thread_local int64_t granted;  // so many are still granted before one is not; negative: all are
extern thread_local int64_t asked;

}  // namespace transload::test
