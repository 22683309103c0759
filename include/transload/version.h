// Which Transload this is. CMake and pkg-config take the version from here, and nothing else writes it down.
#pragma once

// The version of these headers. Before 1.0 a minor version may change what programs are compiled and linked against.
#define TRANSLOAD_VERSION_MAJOR 0
#define TRANSLOAD_VERSION_MINOR 1
#define TRANSLOAD_VERSION_PATCH 0

namespace transload {

// The version of the library that is linked, such as "1.2.3".
const char* version();

}  // namespace transload
