// Launchers whose variables say which rank a process is.
#pragma once
#include <string>
#include <vector>

namespace transload {

// What Bootstrap::from_environment may be asked for by name, each once, in the order in which they are asked; "none",
// which asks nobody, comes last.
std::vector<std::string> launcher_names();

}  // namespace transload
