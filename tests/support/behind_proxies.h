// Puts networks of ranks on CPUs behind proxies, as ranks on GPUs have them. The thread of a rank fills its queue of
// commands.
#pragma once
#include <memory>

#include "runtime/network/scale_out_kinds.h"
#include "tests/support/proxied_link.h"

namespace transload::test {

inline decltype(ScaleOutKind::make) g_make_without_proxy = nullptr;

// Every network that a rank of this process makes from now on is behind a proxy. Is called before there are groups.
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
