// Launchers whose variables say which rank a process is.
#pragma once
#include <string>
#include <vector>

namespace transload {

// The names that Bootstrap::from_environment takes, each once, in the order in which launchers are asked; "none", which
// asks none of them, comes last.
std::vector<std::string> launcher_names();

}  // namespace transload
