// The scenarios that travel in the program. Their source is made by src/sim/CMakeLists.txt.
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
