// Makes of the program one whose ranks on CPUs drive their networks by proxies: linked to it, it is enough.
#include "tests/support/behind_proxies.h"

namespace {
[[maybe_unused]] const bool g_done = (transload::test::put_networks_behind_proxies(), true);
}  // namespace
