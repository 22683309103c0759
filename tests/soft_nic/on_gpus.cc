// Makes of a program one whose ranks on GPUs fill the queues of a soft NIC each, where they would map their rails:
// linked to it, it is enough. Ranks must be threads. SOFT_NIC has the NIC's settings, unless a test gives others; if
// it is "mapped", rails are mapped all the same, and only the kernels are those that would fill queues.
#include <cstdlib>
#include <string>

#include "tests/soft_nic/gpu_nic.h"

namespace {

std::unique_ptr<transload::NicQueues> open(transload::GroupMaking& group, const transload::NetworkPlace& place) {
  return transload::test::GpuNic::open(group, place, transload::test::soft_nics_given());
}

[[maybe_unused]] const bool g_replaced = [] {
  const char* const given = std::getenv("SOFT_NIC");
  const std::string text = given == nullptr ? "" : given;
  const bool mapped = text == "mapped";
  if (!mapped) transload::test::soft_nics_given() = transload::test::soft_nic_settings(text);
  for (transload::ScaleOutKind& kind : transload::scale_out_kinds()) {
    if (kind.choice != transload::ScaleOutChoice::kLoopback) continue;
    kind.kernels_of_nics = mapped;
    kind.maps_rails = mapped;
    if (!mapped) kind.open_queues = open;
  }
  return true;
}();

}  // namespace
