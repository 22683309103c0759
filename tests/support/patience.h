// How long a test waits for what has to come: far longer than that takes on a busy machine and under a sanitizer,
// because only a broken run waits to the end of it.
#pragma once
#include <chrono>
#include <thread>

namespace transload {

constexpr auto kPatience = std::chrono::seconds(120);
constexpr int kPatienceMs = int(std::chrono::milliseconds(kPatience).count());

// Looks every millisecond until `done()`. False: it has not come to pass.
template <class Done>
bool eventually(Done done) {
  for (const auto start = std::chrono::steady_clock::now(); !done();) {
    if (std::chrono::steady_clock::now() - start > kPatience) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace transload
