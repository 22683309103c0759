// The scenarios that are built into the program. src/sim/CMakeLists.txt makes their source.
#pragma once
#include <string_view>
#include <vector>

namespace transload {

struct EmbeddedScenario {
  std::string_view name;
  std::string_view text;
};
const std::vector<EmbeddedScenario>& embedded_scenarios();

}  // namespace transload
