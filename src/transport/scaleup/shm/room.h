// How much memory this machine can still give, before a page of it is touched.
#pragma once
#include <cstdint>
#include <string>

namespace transload {

// Files to look at; another root lets a test play another machine.
struct RoomSources {
  std::string root;  // put before /proc and /sys
};

// The least of MemAvailable and what the cgroups (version 1 and 2) of this process and their parents leave. Files that
// are not there bound nothing.
uint64_t available_bytes(const RoomSources& sources = {});

// Throws Error{kOutOfMemory} with needed and available bytes if they do not fit.
void check_room(uint64_t needed, const std::string& what);

}  // namespace transload
