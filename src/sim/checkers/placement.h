// PLACEMENT: every row is the one that the contract wants at that place.
#pragma once
#include <string>

#include "sim/checkers/results.h"

namespace transload {

inline std::string check_placement(const DispatchResult& r) {
  if (r.cached) return "";
  for (size_t i = 0; i < r.want.source.size(); ++i) {
    const int32_t* const s = r.out.source.as<int32_t>() + i * 2;
    const reference::Source want = r.want.source[i];
    if (uint32_t(s[0]) == want.rank && s[1] == want.token) continue;
    return "row " + std::to_string(i) + " is " + text_of({uint32_t(s[0]), s[1]}) + ", must be " + text_of(want);
  }
  return "";
}

}  // namespace transload
