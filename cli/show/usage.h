// Bad usage or bad input: one line that names the argument, its value and the bound; exit status 2.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

#include "cli/text.h"

namespace transload::cli {

enum ExitStatus : int { kVerified = 0, kWrongResult = 1, kBadUsage = 2, kFaulted = 3 };

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Arguments>
[[noreturn]] void refuse(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw UsageError(text::format(format, std::forward<Arguments>(arguments)...));
}

// Text on one line, whatever a library put into it.
inline std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return text;
}

}  // namespace transload::cli
