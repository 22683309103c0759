// What a test wants of the scrambled fabric, read once from SCRAMBLED_FABRIC: "key=value,key=value".
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace scrambled {

struct Settings {
  uint64_t seed = 1;
  std::vector<std::string> list{"scrambled"};  // providers, with | between them
  std::vector<std::string> shut;               // of those: not found by name
  std::vector<std::string> dead;               // of those: found, but no endpoint can be enabled
  size_t universe = SIZE_MAX;                  // no endpoint can be enabled if a job may have more ranks
  bool software = false;                       // moves only while its caller reads completions: no hand of its own
  bool tears = false;                          // writes of 8 bytes land byte by byte, the low ones first
  bool spoils = false;  // some rows are called complete at once, and leave when a later count has landed
};

// Stops the process with a message at what it does not know: a test that sets nothing would prove nothing.
const Settings& settings();

bool names(const std::vector<std::string>& list, const std::string& name);

}  // namespace scrambled
