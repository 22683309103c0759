// Finding the rendezvous: a launcher's address, or one that rank 0 gathers through the caller's own function.
#include "runtime/meeting_point.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/secret.h"
#include "transload/status.h"
#include "transport/scaleup/shm/host.h"

namespace transload {

namespace {

constexpr uint32_t kPortPatienceMs = 2000;  // for an earlier server of this port to go

// What rank 0 tells the others through the caller's all-gather; plain bytes of one size.
struct Card {
  char host[128];       // of the rank: who shares it may use the loopback
  char addresses[768];  // of the server, separated by spaces
  char problem[256];    // why there is no server
  char secret[72];      // of this group, unless the caller has one
  uint64_t server;
  uint64_t port;
};

bool is_loopback(const std::string& host) { return host == "localhost" || host.rfind("127.", 0) == 0 || host == "::1"; }

bool is_address(const std::string& host) {
  in_addr v4;
  in6_addr v6;
  return ::inet_pton(AF_INET, host.c_str(), &v4) == 1 || ::inet_pton(AF_INET6, host.c_str(), &v6) == 1;
}

// This host's IPv4 addresses but the loopback's.
std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET) continue;
    if ((at->ifa_flags & IFF_UP) == 0 || (at->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET_ADDRSTRLEN];
    const auto* address = reinterpret_cast<const sockaddr_in*>(at->ifa_addr);
    if (::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) != nullptr) addresses.push_back(text);
  }
  ::freeifaddrs(all);
  return addresses;
}

template <size_t n>
void put_text(char (&to)[n], const std::string& text) {
  std::memcpy(to, text.data(), std::min(text.size(), n - 1));
}

std::vector<std::string> words_of(const char* text) {
  std::vector<std::string> words;
  std::string word;
  for (; *text != 0; ++text) {
    if (*text != ' ') {
      word += *text;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// Rank 0 opens a server at a free port. What goes wrong is told to all, so that all fail alike.
void open_for_all(const Bootstrap& bootstrap, MeetingPoint& point, Card& card) {
  try {
    const std::string made = bootstrap.secret.empty() ? random_secret() : "";
    put_text(card.secret, made);
    point.served = shared_server({"0.0.0.0", 0, true, bootstrap.job, made.empty() ? bootstrap.secret : made}, 0);
    card.port = point.served->port();
    card.server = point.served->number();
    std::string addresses = is_loopback(bootstrap.host) ? "" : bootstrap.host;
    for (const std::string& address : own_addresses()) {
      if (addresses.size() + address.size() + 2 < sizeof card.addresses) addresses += " " + address;
    }
    put_text(card.addresses, addresses);
  } catch (const Error& error) {
    put_text(card.problem, error.what());
  }
}

MeetingPoint gather_meeting_point(const Bootstrap& bootstrap) {
  MeetingPoint point;
  Card mine{};
  put_text(mine.host, host_identity());
  if (bootstrap.rank == 0) open_for_all(bootstrap, point, mine);
  std::vector<Card> cards(bootstrap.ranks);
  bootstrap.all_gather(&mine, sizeof mine, cards.data());
  for (Card& card : cards) card.host[127] = card.addresses[767] = card.problem[255] = card.secret[71] = 0;
  const Card& first = cards[0];
  if (first.problem[0] != 0) throw Error(Code::kInvalidArgument, std::string("rank 0: ") + first.problem);
  if (first.port == 0 || first.port > 65535)
    throw Error(Code::kInvalidArgument, "all_gather: what it gave for rank 0 is not what rank 0 put in");
  const bool one_host = std::all_of(cards.begin(), cards.end(),
                                    [&](const Card& card) { return std::strcmp(card.host, first.host) == 0; });
  point.hosts = words_of(first.addresses);
  if (one_host || point.hosts.empty()) point.hosts = {"127.0.0.1"};
  point.port = uint16_t(first.port);
  point.server = first.server;
  point.secret = bootstrap.secret.empty() ? first.secret : bootstrap.secret;
  return point;
}

// The one that launchers and callers name: where it cannot be opened, what chose the port says so.
void serve(const Bootstrap& bootstrap, const ServerOptions& options, uint32_t patience_ms, MeetingPoint& point) {
  try {
    point.served = shared_server(options, patience_ms);
  } catch (const Error& error) {
    throw Error(Code::kInvalidArgument,
                "bootstrap.port: " + std::to_string(options.port) + ": " + error.what() +
                    " (another job may serve there: TRANSLOAD_PORT sets another port, on all ranks alike)");
  }
  point.server = point.served->number();
}

}  // namespace

MeetingPoint find_meeting_point(const Bootstrap& bootstrap, uint32_t deadline_ms) {
  if (bootstrap.port == 0 && bootstrap.all_gather) return gather_meeting_point(bootstrap);
  MeetingPoint point;
  point.hosts = {bootstrap.host};
  point.port = bootstrap.port;
  point.secret = bootstrap.secret;
  if (bootstrap.port == 0) {
    if (bootstrap.ranks > 1)
      throw Error(
          Code::kInvalidArgument,
          "bootstrap.port: 0, but without an all_gather it must be the rendezvous's port; this launcher does not say "
          "which "
          "launch this is, so TRANSLOAD_JOB or TRANSLOAD_PORT must: alike on all ranks, another for each launch");
    point.served = shared_server({"127.0.0.1", 0, true, bootstrap.job, bootstrap.secret}, 0);
    point.hosts = {"127.0.0.1"};
    point.port = point.served->port();
    point.server = point.served->number();
  } else if (bootstrap.serve) {
    // A name may stand for another address here than elsewhere (Debian maps a host's own name to 127.0.1.1).
    std::string address = "0.0.0.0";
    if (bootstrap.host == "localhost") address = "127.0.0.1";
    if (is_address(bootstrap.host)) address = bootstrap.host;
    serve(bootstrap, {address, bootstrap.port, true, bootstrap.job, bootstrap.secret},
          std::min(deadline_ms, kPortPatienceMs), point);
    if (address == "0.0.0.0") point.hosts.push_back("127.0.0.1");  // if the name cannot be resolved here
  }
  return point;
}

}  // namespace transload
