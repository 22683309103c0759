// Makes of the program one whose ranks on CPUs fill the queues of a NIC each, where they would map their rails: linked
// to it, it is enough. SOFT_NIC has the NIC's settings.
#include <cstdlib>

#include "tests/support/with_soft_nics.h"

namespace {
const char* settings() {
  const char* const given = std::getenv("SOFT_NIC");
  return given == nullptr ? "" : given;
}
const transload::test::WithSoftNics g_soft_nics(settings());
}  // namespace
