// What the ranks of a link tell each other, as bytes and back. Other bytes are refused, with who sent them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/word.h"

namespace transload::cli {

struct NumberSaid {
  static std::string pack(uint64_t number);
  static uint64_t unpack(uint32_t rank, std::string_view said);
};

// How to write to a rank's memory without a link.
struct RawMemorySaid {
  uint64_t key = 0, base = 0;
  std::string endpoint;  // the address that libfabric gives

  std::string pack() const;
  static RawMemorySaid unpack(uint32_t rank, std::string_view said);
};

// Returns `seen`, a count that a rank put into my memory. Refuses more than `most`: too many rows would be taken.
Word bounded_count(uint32_t rank, const char* of, Word seen, Word most);

}  // namespace transload::cli
