// What holds for an option, what the library chooses where one is left at 0, and the bounds that users may ask for.
#include "runtime/group_options.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace transload {
namespace {

// Channels of an SM: as many as it has warps for. More channels would take turns, and one end would wait for the other.
constexpr uint32_t kSendersOfSm = 4;

}  // namespace

OptionFacts option_facts(std::string_view name) {
  OptionFacts found{};
  const GroupOptions options;
  for_each_option(options, [&](const OptionFacts& facts, const auto&) {
    if (facts.name == name) found = facts;
  });
  TRANSLOAD_CHECK(found.most > 0);
  return found;
}

std::vector<Decision> complete(GroupOptions& o) {
  const bool gpu = o.device.device_type != kDLCPU, alone = o.topology.node_sizes.size() <= 1;
  const std::string why = !gpu    ? "a rank on the CPU has one thread"
                          : alone ? "many short channels keep the warps of a GPU busy"
                                  : "a channel for each warp that sends to other nodes";
  std::vector<Decision> decisions;
  const auto choose = [&](const char* what, uint32_t& option, uint32_t choice) {
    const bool given = option != 0;
    if (!given) option = choice;
    decisions.push_back({what, std::to_string(option), given ? "asked for" : why});
  };
  choose("channels", o.channels, gpu ? std::min((alone ? 16 : kSendersOfSm) * o.sms, kChannelsMax) : 4);
  choose("slots", o.slots, gpu && alone ? 4 : 16);
  choose("slots between peers", o.peer_slots, gpu ? 1 : o.slots);
  if (o.create_deadline_ms == 0) o.create_deadline_ms = o.deadline_ms;
  return decisions;
}

uint32_t rail_batch_of(const GroupOptions& o, bool by_queues) {
  if (o.rail_batch != 0) return o.rail_batch;
  return by_queues ? 1 : publish_every(o.slots);
}

Limits limits() {
  return {.ranks_max = kRanksMax,
          .node_size_max = kNodeSizeMax,
          .nodes_max = kRanksMax,
          .streams_max = uint32_t(kMembersMax),
          .top_k_max = uint32_t(option_facts("top_k_max").most),
          .channels_max = kChannelsMax,
          .slots_max = uint32_t(option_facts("slots").most),
          .token_bytes_max = option_facts("row_bytes_max").most,
          .token_bytes_unit = kTokenUnit,
          .tokens_max = option_facts("tokens_max").most};
}

}  // namespace transload
