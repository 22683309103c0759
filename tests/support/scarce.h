// Memory that runs out in the middle of something: an allocation that fails.
#pragma once

namespace transload::test {

// The allocation of this thread that comes after so many others throws std::bad_alloc; those behind it do not.
// Negative: none will.
void fail_allocation(int after);

}  // namespace transload::test
