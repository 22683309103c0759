// Whether a network region may lie on a GPU: asked of the provider that would carry the group, by trying.
#pragma once
#include <functional>

#include "transport/scaleout/libfabric/link.h"

namespace transload {

// `options` as for a link, without region and device. `place` puts a region of the kind that it is given there, which
// stays for whoever asked; it is called only if all but its registration is known to be right, and again for another
// kind if that is refused. What place throws goes to the caller. Throws Error if no provider opens.
RegionChoice try_region(LibfabricOptions options, const DeviceInfo& gpu,
                        const std::function<void(RegionPlace, LibfabricOptions&)>& place);

}  // namespace transload
