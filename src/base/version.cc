// The version of the library, as text.
#include "transload/version.h"

#define TRANSLOAD_TEXT(x) #x
#define TRANSLOAD_DOTTED(major, minor, patch) TRANSLOAD_TEXT(major) "." TRANSLOAD_TEXT(minor) "." TRANSLOAD_TEXT(patch)

namespace transload {

const char* version() {
  return TRANSLOAD_DOTTED(TRANSLOAD_VERSION_MAJOR, TRANSLOAD_VERSION_MINOR, TRANSLOAD_VERSION_PATCH);
}

}  // namespace transload
