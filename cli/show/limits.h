// `transload limits`: bounds, networks, GPUs, and which NIC is near which. tools/network_check reads it.
#pragma once

namespace transload::cli {

void print_limits();

}  // namespace transload::cli
