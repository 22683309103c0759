// The options of a group, each once: its name, its bounds, and whether ranks must give it alike. The check of options,
// their comparison between ranks, limits(), the program and the scenarios all go by this list.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/set.h"
#include "layout/token.h"
#include "transload/group.h"

namespace transload {

constexpr uint32_t kRanksMax = 4096;
constexpr uint32_t kNodeSizeMax = 1024;
constexpr uint32_t kChannelsMax = 1024;
constexpr uint64_t kDeadlineMsMin = 50;
constexpr uint64_t kDeadlineMsMax = 24 * 3600 * 1000;

struct OptionFacts {
  const char* name;
  uint64_t least = 0;
  uint64_t most = 0;
  uint64_t unit = 1;           // the value is a multiple of this
  bool zero_too = false;       // 0 is allowed, too: the field in GroupOptions says what it means
  bool alike = true;           // all ranks must give the same value
  const char* flag = nullptr;  // help for the program's flag --name, which passes the number on
};

// visit(facts, field) for every option that is a number.
template <class Options, class Visit>
void for_each_option(Options& o, Visit visit) {
  using Facts = OptionFacts;
  visit(Facts{.name = "experts", .least = 1, .most = 1 << 20}, o.experts);
  visit(Facts{.name = "tokens_max", .least = 1, .most = uint64_t(1) << 31}, o.tokens_max);
  visit(Facts{.name = "row_bytes_max", .least = kTokenUnit, .most = 1 << 24, .unit = kTokenUnit}, o.row_bytes_max);
  visit(Facts{.name = "scales_max", .most = 4096}, o.scales_max);
  visit(Facts{.name = "top_k_max", .least = 1, .most = kSetMax}, o.top_k_max);
  visit(Facts{.name = "channels",
              .least = 1,
              .most = kChannelsMax,
              .zero_too = true,
              .flag = "channels of a call [the library's choice for the device]"},
        o.channels);
  visit(Facts{.name = "slots",
              .least = 1,
              .most = 65536,
              .zero_too = true,
              .flag = "tokens that a ring holds [the library's choice]"},
        o.slots);
  visit(Facts{.name = "peer_slots",
              .least = 1,
              .most = 65536,
              .zero_too = true,
              .flag = "tokens that a ring between ranks of a node holds [the library's choice]"},
        o.peer_slots);
  visit(Facts{.name = "slab_bytes", .most = uint64_t(1) << 46, .alike = false}, o.slab_bytes);
  visit(Facts{.name = "deadline_ms",
              .least = kDeadlineMsMin,
              .most = kDeadlineMsMax,
              .flag = "milliseconds that each wait in a call may take"},
        o.deadline_ms);
  visit(Facts{.name = "create_deadline_ms",
              .least = kDeadlineMsMin,
              .most = kDeadlineMsMax,
              .zero_too = true,
              .flag = "milliseconds that each wait may take while the group is made [as --deadline-ms]"},
        o.create_deadline_ms);
  visit(Facts{.name = "sms", .least = 1, .most = 1024, .flag = "cuda: the most SMs that a rank takes"}, o.sms);
  // One warp asks for this many commands at once.
  visit(Facts{.name = "rail_queue",
              .least = 32,
              .most = 1 << 20,
              .alike = false,
              .flag = "cuda, over a network: commands that the queue to a rank's proxy holds"},
        o.rail_queue);
  visit(
      Facts{
          .name = "rail_batch",
          .least = 1,
          .most = 32768,
          .zero_too = true,
          .alike = false,
          .flag =
              "cuda, over a network: rows that are sent at once, at most half of the slots [a quarter of the slots; 1 "
              "with queues of a NIC]"},
      o.rail_batch);
  visit(Facts{.name = "linger_us",
              .most = 1'000'000,
              .alike = false,
              .flag = "cpu: microseconds that a rank polls for what it waits for before it sleeps"},
        o.linger_us);
}

// Gives each option that is left to the library its value, but for rail_batch (rail_batch_of), and says what it chose.
std::vector<Decision> complete(GroupOptions& options);

// After how many tokens a consumer says that their slots are free, so that the ring never runs dry.
constexpr uint32_t credit_every(uint32_t slots) { return slots < 2 ? 1 : slots / 2; }
// After how many tokens a warp publishes what it stored, where rails are mapped or go by a proxy.
constexpr uint32_t publish_every(uint32_t slots) { return slots < 4 ? 1 : slots / 4; }

// How many rows a put carries: the caller's number, or what suits whoever carries it. `options` are complete. A proxy
// takes time for each command. An entry of a NIC's queue does not, and more rows would only wait for each other.
uint32_t rail_batch_of(const GroupOptions& options, bool by_queues);

// The facts of the option with this name, which must exist.
OptionFacts option_facts(std::string_view name);

}  // namespace transload
