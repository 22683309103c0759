// The version of Transload. CMake and pkg-config take it from here; it is written nowhere else.
#pragma once

// The version of these headers. Before 1.0 a minor version may change the API and the ABI.
#define TRANSLOAD_VERSION_MAJOR 0
#define TRANSLOAD_VERSION_MINOR 1
#define TRANSLOAD_VERSION_PATCH 0

namespace transload {

// Returns the version of the linked library, such as "1.2.3".
const char* version();

}  // namespace transload
