// Makes of the program one whose ranks on CPUs may use NVSHMEM: linked to it, it is enough. With the library of
// tests/nvshmem_double, whose heap is memory of the host.
#include "runtime/network/scale_out_kinds.h"

namespace {
[[maybe_unused]] const bool g_allowed = [] {
  for (transload::ScaleOutKind& kind : transload::scale_out_kinds()) kind.on_cpus = true;
  return true;
}();
}  // namespace
