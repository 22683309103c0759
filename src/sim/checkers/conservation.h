// CONSERVATION: every (token, owner) arrives once: none lost, none twice, none from nowhere.
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "sim/checkers/results.h"

namespace transload {

// Returns what is wrong, or nothing if all is well; so do the other checks of results.
inline std::string check_conservation(const DispatchResult& r) {
  const size_t want = r.want.source.size();
  if (size_t(r.out.rows) != want) return std::to_string(r.out.rows) + " rows, must be " + std::to_string(want);
  if (r.out.rows_needed != r.want.needed)
    return std::to_string(r.out.rows_needed) + " rows needed, must be " + std::to_string(r.want.needed);
  const int64_t held = r.rows_max > 0 ? r.rows_max : r.want.needed;
  if (r.out.x.rows() != held)
    return "room for " + std::to_string(r.out.x.rows()) + " rows, must be for " + std::to_string(held);
  const Code code = r.want.needed > int64_t(want) ? Code::kTooManyRows : Code::kOk;
  if (r.out.status.code != code)
    return "status '" + r.out.status.message + "', with " + std::to_string(want) + " rows kept of " +
           std::to_string(r.want.needed);
  if (r.cached) return "";
  std::vector<std::pair<uint32_t, int64_t>> got, all;
  for (size_t i = 0; i < want; ++i) {
    const int32_t* const s = r.out.source.as<int32_t>() + i * 2;
    got.emplace_back(uint32_t(s[0]), s[1]);
    all.emplace_back(r.want.source[i].rank, r.want.source[i].token);
  }
  std::sort(got.begin(), got.end());
  for (size_t i = 0; i < want; ++i) {
    if (got[i] == all[i]) continue;
    const bool lost = all[i] < got[i];
    const auto& it = lost ? all[i] : got[i];
    return text_of({it.first, it.second}) + (lost ? " never arrived" : " arrived and must not have, or twice");
  }
  return "";
}

}  // namespace transload
