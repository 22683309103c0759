// Addresses of hosts as text, of both families.
#pragma once
#include <netdb.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/time_units.h"

namespace transload {

// What a resolver says.
using Resolved = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// A name or an address as a socket's resolver takes it: an IPv6 address loses its brackets.
std::string bare_host(const std::string& host);
// The address for people: "name:port", "[address]:port".
std::string with_port(const std::string& host, uint16_t port);
bool is_address(const std::string& host);  // else a name
bool is_loopback(const std::string& host);
// The text has no port. An IPv4 address inside an IPv6 one is given as the former.
std::string text_of(const sockaddr* address);
constexpr uint64_t kLookUpNs = 2 * kSecondNs;  // for one look at a name: there may be other places to try
// What a name stands for here. It is empty for nothing, or nothing yet at `until` (now_ns()), and `why` says which. The
// system's resolver knows no deadline, so it is asked by a thread of its own, which is left behind; who asks for the
// name again waits for the same answer.
std::vector<std::string> addresses_of(const std::string& host, uint64_t until, std::string& why);
// Addresses of this host's interfaces, by which others can reach it: IPv4 first.
std::vector<std::string> own_addresses();
// Some socket of this host can have it.
bool is_own(const std::string& address);

}  // namespace transload
