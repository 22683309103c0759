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
  bool copies = false;                         // lists its providers to a copy (fork) of whoever asked first, too
  std::vector<std::string> nics{"scrambled"};  // that each provider has
  int gpu = -1;                                // the CUDA device whose memory it registers; -1: of none
  bool keeps_cuda = false;                     // it will not be forbidden to call CUDA
  std::vector<std::string> refuses;            // ways in which it registers no memory of a GPU: dma_buf, address
  uint32_t version = 0;                        // what it calls itself; 0: as its header
  bool spoils = false;  // some rows are called complete at once, and leave when a later count has landed
};

// Stops the process with a message at what it does not know: a test that sets nothing would prove nothing.
const Settings& settings();

bool names(const std::vector<std::string>& list, const std::string& name);

}  // namespace scrambled
