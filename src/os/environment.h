// Sets environment variables of a process that has threads already.
#pragma once
#include <string>
#include <vector>

namespace transload {

// Adds variables, "NAME=value" each, that are not set yet. Another thread that reads the environment meanwhile sees the
// old list or the new one, both whole: neither is ever freed, so do it seldom.
void add_to_environment(const std::vector<std::string>& variables);

}  // namespace transload
