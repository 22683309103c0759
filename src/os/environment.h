// Variables of this process's environment, set when it has threads.
#pragma once
#include <string>
#include <vector>

namespace transload {

// Adds variables, "NAME=value" each, that are not there. Another thread that reads the environment meanwhile sees the
// old list or the new one, both whole: neither is ever freed, so do it seldom.
void add_to_environment(const std::vector<std::string>& variables);

}  // namespace transload
