// How much memory this machine can still give. Groups ask before they touch a page of what they need.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

namespace transload {

// Files to look at; another root lets a test play another machine.
struct RoomSources {
  std::string root;  // path put before /proc and /sys
};

// The least of MemAvailable and what the cgroups (version 1 and 2) of this process and their parents leave. Files that
// are not there bound nothing.
uint64_t available_bytes(const RoomSources& sources = {});

// Throws Error{kOutOfMemory} with needed and available bytes if `needed` are not available. `what` begins the message.
void check_room(uint64_t needed, const std::string& what);

// Memory that a group of this process will touch page by page. Until it has, no other group of this process is promised
// the same memory.
class Promise {
 public:
  struct Ask {
    uint64_t group;  // the group's id, alike in all its ranks
    // What all ranks of the group on this host will touch, plus what other processes of this host were promised.
    uint64_t host_bytes;
    uint64_t my_bytes;  // the part of host_bytes that this rank will touch
  };
  Promise() = default;
  // Throws Error{kOutOfMemory} if host_bytes do not fit beside what other groups of this process were promised.
  explicit Promise(const Ask& ask, const RoomSources& sources = {});
  ~Promise();
  Promise(Promise&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
  Promise& operator=(Promise&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  // Says that part of the promised memory lies at `base`, mapped for as long as the promise. Its touched pages do not
  // count as promised any more, because the system counts them as used.
  void lies_at(const void* base, uint64_t bytes);

 private:
  uint64_t number_ = 0;  // 0: nothing is promised
};

// What all groups of this process but `but_group` were promised and have not touched.
uint64_t promised_bytes(uint64_t but_group);

}  // namespace transload
