# The simulator: a library of its own, so that what ships holds nothing of it. The program and the tests link it.
find_path(TRANSLOAD_TOML_INCLUDE toml++/toml.h REQUIRED)

# The scenarios travel in the program: each file's name and text.
file(GLOB scenarios CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/sim/scenarios/*.toml)
set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${scenarios})
set(entries "")
foreach(scenario IN LISTS scenarios)
  get_filename_component(name ${scenario} NAME_WE)
  file(READ ${scenario} text)
  string(APPEND entries "    {\"${name}\", R\"toml(${text})toml\"},\n")
endforeach()
set(embedded ${PROJECT_BINARY_DIR}/sim/embedded_scenarios.cc)
file(CONFIGURE OUTPUT ${embedded} @ONLY CONTENT [[
// Made by src/sim/sim.cmake from sim/scenarios/*.toml.
#include "sim/embedded_scenarios.h"

namespace transload {

const std::vector<EmbeddedScenario>& embedded_scenarios() {
  static const std::vector<EmbeddedScenario> all{
@entries@  };
  return all;
}

}  // namespace transload
]])

add_library(transload_sim STATIC EXCLUDE_FROM_ALL ${simulator_sources} ${embedded})
transload_flags(transload_sim)
target_include_directories(transload_sim SYSTEM PRIVATE ${TRANSLOAD_TOML_INCLUDE})
target_link_libraries(transload_sim PUBLIC transload)
