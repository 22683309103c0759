// Addresses of hosts as text, of both families.
#pragma once
#include <netdb.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/time_units.h"

namespace transload {

// What getaddrinfo found, freed with the pointer.
using Resolved = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// A name or an address as a socket's resolver takes it: an IPv6 address loses its brackets.
std::string bare_host(const std::string& host);
// The address for people: "name:port", "[address]:port".
std::string with_port(const std::string& host, uint16_t port);
bool is_address(const std::string& host);  // false: a name
bool is_loopback(const std::string& host);
// The address without its port. An IPv4 address inside an IPv6 one comes out as IPv4.
std::string text_of(const sockaddr* address);
constexpr uint64_t kLookUpNs = 2 * kSecondNs;  // time for one look-up; short, as there may be other places to try
// The addresses that a name stands for here. Empty if it has none, or the resolver has not answered by `until`
// (now_ns()); `why` then says which. The resolver knows no deadline, so a thread of its own asks it, and is left behind
// if need be. Whoever asks for the name again waits for the same answer.
std::vector<std::string> addresses_of(const std::string& host, uint64_t until, std::string& why);
// Addresses of this host's interfaces, by which others can reach it: IPv4 first.
std::vector<std::string> own_addresses();
// Whether a socket of this host can be bound to this address.
bool is_own(const std::string& address);

}  // namespace transload
