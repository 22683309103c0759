// Text by fmt, whose code is compiled in text.cc alone: in each file that prints, compiling it would take seconds.
#pragma once
#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace transload::cli::text {

std::string format_values(fmt::string_view form, fmt::format_args values);

// Throws std::system_error if `file` does not take the text.
void print_values(std::FILE* file, fmt::string_view form, fmt::format_args values);

template <class... Values>
std::string format(fmt::format_string<Values...> form, Values&&... values) {
  return format_values(form, fmt::make_format_args(values...));
}

template <class... Values>
void print(std::FILE* file, fmt::format_string<Values...> form, Values&&... values) {
  print_values(file, form, fmt::make_format_args(values...));
}

template <class... Values>
void print(fmt::format_string<Values...> form, Values&&... values) {
  print_values(stdout, form, fmt::make_format_args(values...));
}

// The values as text, with `between` between any two.
template <class Range>
std::string join(const Range& values, std::string_view between) {
  std::string all;
  for (const auto& value : values) {
    if (!all.empty()) all += between;
    all += format("{}", value);
  }
  return all;
}

}  // namespace transload::cli::text
