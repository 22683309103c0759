// How a host reads the words that kernels tell it, and tells them to leave.
#pragma once
#include <atomic>

#include "base/word.h"
#include "kernels/device_call.h"

namespace transload {

inline Word read_word(const Word& word) {
  return std::atomic_ref<Word>(const_cast<Word&>(word)).load(std::memory_order_acquire);
}

inline WaitsFor waits_for(const HostWords& words) {
  return {.peer = read_word(words.waits_for.peer), .to_finish = read_word(words.waits_for.to_finish)};
}

// The fault that a kernel has told, or none. It is whole, because kernels write `set` last.
inline DeviceFault fault_now(const HostWords& words) {
  return read_word(words.fault.set) != Word(DeviceFailure::kNone) ? words.fault : DeviceFault{};
}

inline void tell_to_leave(HostWords& words) { std::atomic_ref<Word>(words.abort).store(1, std::memory_order_release); }

}  // namespace transload
