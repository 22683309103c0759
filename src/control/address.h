// Addresses of hosts as text, of both families.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

struct sockaddr;

namespace transload {

// A name or an address as a socket's resolver takes it: an IPv6 address loses its brackets.
std::string bare_host(const std::string& host);
// For people: "name:port", "[address]:port".
std::string with_port(const std::string& host, uint16_t port);
bool is_address(const std::string& host);  // else a name
bool is_loopback(const std::string& host);
// Without the port. An IPv4 address inside an IPv6 one is given as the former.
std::string text_of(const sockaddr* address);
// What a name stands for here; empty if nothing.
std::vector<std::string> addresses_of(const std::string& host);
// Addresses of this host's interfaces, by which others can reach it: IPv4 first.
std::vector<std::string> own_addresses();
// Some socket of this host can have it.
bool is_own(const std::string& address);

}  // namespace transload
