// ORDER: rows come by (source rank, source token), ascending, whatever the timing.
#pragma once
#include <string>

#include "sim/checkers/results.h"

namespace transload {

inline std::string check_order(const DispatchResult& r) {
  if (r.cached) return "";
  for (int64_t i = 1; i < r.out.rows; ++i) {
    const int32_t* const s = r.out.source.as<int32_t>() + i * 2;
    if (s[-2] < s[0] || (s[-2] == s[0] && s[-1] < s[1])) continue;
    return "row " + std::to_string(i) + " is " + text_of({uint32_t(s[0]), s[1]}) + ", after " +
           text_of({uint32_t(s[-2]), s[-1]});
  }
  return "";
}

}  // namespace transload
