// Asks the provider that would carry the group, by trying, whether a network region may lie on a GPU.
#pragma once
#include <functional>

#include "transport/scaleout/libfabric/link.h"

namespace transload {

// Finds where the network region of a group can lie. `options` are those of a link, without region and device. `place`
// makes a region of the kind that it is given and writes it into its options; the region stays the caller's. It is
// called only when all but the registration is known to be right, and again for another kind if that is refused. Throws
// what `place` throws, and Error if no provider opens.
RegionChoice try_region(LibfabricOptions options, const DeviceInfo& gpu,
                        const std::function<void(RegionPlace, LibfabricOptions&)>& place);

}  // namespace transload
