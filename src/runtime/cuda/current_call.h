// What is known of the call that a thread makes, or made last. That thread writes it; the watcher reads it.
#pragma once
#include <atomic>
#include <cstdint>

namespace transload {

struct CurrentCall {
  std::atomic<uint32_t> deadline_ms{0};
  std::atomic<uint32_t> phase{0};      // Phase
  std::atomic<bool> on_stream{false};  // the thread gives its kernels to a stream, not to a capture
};

}  // namespace transload
