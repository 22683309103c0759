// The most that the tables of any role take of a warp's near memory: each role says how much it takes, beside its
// tables.
#pragma once
#include <algorithm>
#include <cstdint>

#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"
#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"
#include "protocol/dispatch/sender.h"

namespace transload {

constexpr uint64_t most_tables_bytes(const RankMap& map) {
  return std::max({wait_tables_bytes(map), dispatch_sender_tables_bytes(map), dispatch_forwarder_tables_bytes(map),
                   dispatch_receiver_tables_bytes(map), combine_sender_tables_bytes(map),
                   combine_forwarder_tables_bytes(map), combine_receiver_tables_bytes(map)});
}

}  // namespace transload
