// From now on every network that a rank of this process makes is behind a proxy, as a rank on a GPU has it: for ranks
// on CPUs, whose queue of commands is filled by their own thread.
#pragma once
#include <memory>

#include "runtime/network/scale_out_kinds.h"
#include "tests/support/proxied_link.h"

namespace transload::test {

inline decltype(ScaleOutKind::make) g_make_without_proxy = nullptr;

// Before there are groups.
inline void put_networks_behind_proxies() {
  for (ScaleOutKind& kind : scale_out_kinds()) {
    if (kind.choice != ScaleOutChoice::kLibfabric || g_make_without_proxy != nullptr) continue;
    g_make_without_proxy = kind.make;
    kind.make = [](GroupMaking& group, const NetworkPlace& place) -> std::unique_ptr<ScaleOut> {
      return std::make_unique<ProxiedLink>(g_make_without_proxy(group, place));
    };
  }
}

}  // namespace transload::test
