// The variables, their values, and how they get into the environment.
#include "transport/scaleout/nvshmem/settings.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <memory>
#include <system_error>

#include "base/math.h"
#include "os/environment.h"
#include "transport/scaleout/nvshmem/queues.h"

namespace transload {

namespace {

// The granularity of a heap whose keys nobody needs, in bytes: a larger one makes a small heap take far more memory.
constexpr uint64_t kGranularity = 2 << 20;
constexpr uint64_t kGroupsAtOnce = 2;      // the heap has room for this many groups
constexpr uint64_t kQueueDepthMin = 1024;  // NVSHMEM's own default

// The bytes of an address of IPv4 or IPv6; "" of any other.
std::string bytes_of(const sockaddr* address) {
  if (address == nullptr) return "";
  if (address->sa_family == AF_INET)
    return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr), sizeof(in_addr)};
  if (address->sa_family == AF_INET6)
    return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr),
            sizeof(in6_addr)};
  return "";
}

// The bytes of an address in its text form, of either family; "" if the text is no address.
std::string bytes_of(const std::string& text) {
  char bytes[sizeof(in6_addr)];
  const std::string bare = text.substr(0, text.find('%'));
  if (inet_pton(AF_INET, bare.c_str(), bytes) == 1) return {bytes, sizeof(in_addr)};
  if (inet_pton(AF_INET6, bare.c_str(), bytes) == 1) return {bytes, sizeof(in6_addr)};
  return "";
}

// Whether NVSHMEM reads a switch with this value as off.
bool is_off(std::string_view text) { return text.empty() || std::string_view("0NnFf").find(text[0]) != text.npos; }

}  // namespace

std::vector<NvshmemSetting> nvshmem_settings(const NvshmemNeeds& needs) {
  const auto number = [](uint64_t value) { return std::to_string(value); };
  const uint64_t depth = std::bit_ceil(std::max(kQueueDepthMin, 4 * needs.slots)),
                 granularity = needs.by_queues ? nvshmem_granularity(needs.region_bytes) : kGranularity,
                 block = nvshmem_block_bytes(needs), heap = round_up(kGroupsAtOnce * block, kGranularity);
  std::vector<NvshmemSetting> settings{
      {.name = "NVSHMEM_IB_ENABLE_IBGDA", .value = "1", .rule = "where there are NICs, GPUs are to drive them"},
      {.name = "NVSHMEM_IBGDA_NUM_RC_PER_PE",
       .value = number(needs.channels + 1),
       .least = needs.channels + 1,
       .rule = "channels + 1: a queue belongs to a ring"},
      {.name = "NVSHMEM_QP_DEPTH",
       .value = number(depth),
       .least = 4 * needs.slots,
       .rule = "4 x slots, 1024 at least, a power of two"},
      {.name = "NVSHMEM_SYMMETRIC_SIZE",
       .value = number(heap),
       .least = block,
       .rule = "network regions of two groups like the first, twice as long by queues of a NIC, in pages of 2 MiB"},
      {.name = "NVSHMEM_CUMEM_GRANULARITY",
       .value = number(granularity),
       .least = needs.by_queues ? granularity : 0,
       .rule = "2 MiB; by queues of a NIC a power of two that has a network region, which one key must reach"},
      {.name = "NVSHMEM_MAX_TEAMS", .value = "7", .rule = "its own teams: Transload makes none"},
      {.name = "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME",
       .value = needs.interface.empty() ? "" : "=" + needs.interface,
       .rule = "the interface by which the ranks have met"},
  };
  for (NvshmemSetting& setting : settings) setting.user = getenv(setting.name);
  return settings;
}

uint64_t nvshmem_block_bytes(const NvshmemNeeds& needs) { return times(needs.region_bytes, needs.by_queues ? 2 : 1); }

bool nvshmem_maps_nothing() {
  const char* const said = getenv("NVSHMEM_DISABLE_P2P");
  return said != nullptr && !is_off(said);
}

std::string unfit_setting(const std::vector<NvshmemSetting>& settings) {
  if (const char* const many = getenv("NVSHMEM_IBGDA_ENABLE_MULTI_PORT"); many != nullptr && !is_off(many))
    return std::string("NVSHMEM_IBGDA_ENABLE_MULTI_PORT: ") + many +
           ", must be 0: with two NICs a rank, a put and its count would part";
  for (const NvshmemSetting& s : settings) {
    uint64_t given = 0;
    if (s.user == nullptr || s.least == 0) continue;
    if (!size_of_text(s.user, given)) return std::string(s.name) + ": '" + s.user + "', must be a number";
    if (given < s.least)
      return std::string(s.name) + ": " + s.user + ", must be at least " + std::to_string(s.least) +
             " (ours: " + s.rule + ")";
  }
  return "";
}

std::string text_of(const std::vector<NvshmemSetting>& settings) {
  std::string text;
  for (const NvshmemSetting& s : settings)  // names of interfaces may differ from host to host
    if (std::string_view(s.name) != "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME")
      text += std::string(s.name) + " " + (s.user != nullptr ? s.user : s.value) + "\n";
  return text;
}

void set_environment(const std::vector<NvshmemSetting>& settings) {
  std::vector<std::string> variables;
  for (const NvshmemSetting& s : settings)
    if (s.user == nullptr && !s.value.empty()) variables.push_back(std::string(s.name) + "=" + s.value);
  add_to_environment(variables);
}

std::string interface_of(const std::string& address) {
  const std::string wanted = bytes_of(address);
  ifaddrs* found = nullptr;
  if (wanted.empty() || getifaddrs(&found) != 0) return "";
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(found, freeifaddrs);
  for (const ifaddrs* at = found; at != nullptr; at = at->ifa_next)
    if (bytes_of(at->ifa_addr) == wanted) return at->ifa_name;
  return "";
}

bool size_of_text(std::string_view text, uint64_t& bytes) {
  constexpr std::string_view kUnits = "KMGT";
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, bytes);
  if (error != std::errc() || end - rest > 1) return false;
  if (rest == end) return true;
  const size_t unit = kUnits.find(char(*rest & ~0x20));
  if (unit == kUnits.npos) return false;
  bytes = times(bytes, uint64_t(1) << 10 * (unit + 1));
  return true;
}

}  // namespace transload
