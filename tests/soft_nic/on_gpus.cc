// Makes of the program one whose ranks on GPUs fill the queues of a soft NIC each, where they would map their rails:
// linked to it, it is enough. Ranks must be threads. SOFT_NIC has the card's settings.
#include <cstdlib>

#include "tests/soft_nic/gpu_nic.h"

namespace {

const transload::test::SoftNicSettings& settings() {
  static const transload::test::SoftNicSettings given = [] {
    const char* const text = std::getenv("SOFT_NIC");
    return transload::test::soft_nic_settings(text == nullptr ? "" : text);
  }();
  return given;
}

std::unique_ptr<transload::NicQueues> open(transload::Group::Impl& group, const transload::NetworkPlace& place) {
  return transload::test::GpuNic::open(group, place, settings());
}

[[maybe_unused]] const bool g_replaced = [] {
  for (transload::ScaleOutKind& kind : transload::scale_out_kinds()) {
    if (kind.choice != transload::ScaleOutChoice::kLoopback) continue;
    kind.maps_rails = false;
    kind.open_queues = open;
  }
  return true;
}();

}  // namespace
