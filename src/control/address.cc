// See address.h.
#include "control/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "os/descriptor.h"

namespace transload {

namespace {

using Resolved = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Resolved resolve(const std::string& host, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) found = nullptr;
  return {found, &::freeaddrinfo};
}

const in6_addr& v6_of(const sockaddr* address) { return reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr; }

}  // namespace

std::string bare_host(const std::string& host) {
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return brackets ? host.substr(1, host.size() - 2) : host;
}

std::string with_port(const std::string& host, uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos && host.front() != '[';
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool is_address(const std::string& host) { return resolve(host, AI_NUMERICHOST) != nullptr; }

bool is_loopback(const std::string& host) { return host == "localhost" || host.rfind("127.", 0) == 0 || host == "::1"; }

std::string text_of(const sockaddr* address) {
  char text[NI_MAXHOST] = "";
  if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6_of(address))) {
    ::inet_ntop(AF_INET, &v6_of(address).s6_addr[12], text, sizeof text);
  } else if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
    const socklen_t size = address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (::getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) return "";
  }
  return text;
}

std::vector<std::string> addresses_of(const std::string& host) {
  std::vector<std::string> addresses;
  const Resolved found = resolve(host, 0);
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) addresses.push_back(text_of(at->ai_addr));
  return addresses;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> v4, v6;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return v4;
  for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0 || (at->ifa_flags & IFF_LOOPBACK) != 0) continue;
    if (at->ifa_addr->sa_family == AF_INET) v4.push_back(text_of(at->ifa_addr));
    // A link's own address means something only together with the name of an interface, which differs between hosts.
    if (at->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6_of(at->ifa_addr)))
      v6.push_back(text_of(at->ifa_addr));
  }
  ::freeifaddrs(all);
  v4.insert(v4.end(), v6.begin(), v6.end());
  return v4;
}

bool is_own(const std::string& address) {
  const Resolved found = resolve(address, AI_NUMERICHOST);
  if (found == nullptr) return false;
  const Descriptor fd(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return fd && ::bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
}

}  // namespace transload
