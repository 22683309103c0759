// A whole number that was typed, within its bounds.
#pragma once
#include <charconv>
#include <cstdint>
#include <string>

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

}  // namespace transload::cli
