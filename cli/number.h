// Whole numbers that were typed, within their bounds.
#pragma once
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "cli/show/usage.h"

namespace transload::cli {

struct Bounds {
  uint64_t least, most;
};

inline uint64_t number(const char* name, const std::string& text, Bounds bounds) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < bounds.least || value > bounds.most)
    refuse("{}: '{}': must be a whole number from {} to {}", name, text, bounds.least, bounds.most);
  return value;
}

// Reads several numbers, between commas.
inline std::vector<uint64_t> numbers(const char* name, const std::string& text, Bounds bounds) {
  std::vector<uint64_t> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    out.push_back(number(name, text.substr(begin, end - begin), bounds));
    begin = end + 1;
  }
  return out;
}

}  // namespace transload::cli
