// Looking up what holds for an option.
#include "runtime/group_options.h"

#include "base/check.h"

namespace transload {

OptionFacts option_facts(std::string_view name) {
  OptionFacts found{};
  const GroupOptions options;
  for_each_option(options, [&](const OptionFacts& facts, const auto&) {
    if (facts.name == name) found = facts;
  });
  TRANSLOAD_CHECK(found.most > 0);
  return found;
}

Limits limits() {
  return {.ranks_max = kRanksMax,
          .node_size_max = kNodeSizeMax,
          .nodes_max = kRanksMax,
          .streams_max = uint32_t(kMembersMax),
          .top_k_max = uint32_t(option_facts("top_k_max").most),
          .channels_max = uint32_t(option_facts("channels").most),
          .slots_max = uint32_t(option_facts("slots").most),
          .token_bytes_max = option_facts("row_bytes_max").most,
          .token_bytes_unit = kTokenUnit,
          .tokens_max = option_facts("tokens_max").most};
}

}  // namespace transload
