// Looking up and writing addresses of IPv4 and IPv6.
#include "control/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "os/clock.h"
#include "os/descriptor.h"
#include "os/fork.h"
#include "os/host.h"
#include "os/thread.h"
#include "transload/status.h"

namespace transload {

namespace {

int resolve(const std::string& host, int flags, Resolved& to) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  to = Resolved(error == 0 ? found : nullptr, &::freeaddrinfo);
  return error;
}

Resolved numeric(const std::string& host) {
  Resolved found(nullptr, &::freeaddrinfo);
  resolve(host, AI_NUMERICHOST, found);
  return found;
}

// One question to the resolver. It outlives whoever asked, because the answer may come after their deadline.
struct LookUp {
  std::mutex mutex;
  std::condition_variable changed;
  bool answered = false;
  int error = 0;
  std::vector<std::string> addresses;

  void ask(const std::string& host) noexcept {
    std::vector<std::string> found;
    int failed = EAI_MEMORY;
    try {
      Resolved all(nullptr, &::freeaddrinfo);
      failed = resolve(host, 0, all);
      for (const addrinfo* at = all.get(); at != nullptr; at = at->ai_next) found.push_back(text_of(at->ai_addr));
    } catch (const std::bad_alloc&) {
      failed = EAI_MEMORY;
    }
    const std::lock_guard lock(mutex);
    error = failed;
    addresses = std::move(found);
    answered = true;
    changed.notify_all();
  }
};

// Look-ups that are not answered yet, by name.
struct LookUps {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<LookUp>> open;

  std::shared_ptr<LookUp> of(const std::string& host) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<LookUp>& one = open[host];
    if (one) return one;
    auto fresh = std::make_shared<LookUp>();
    start_thread([fresh, host] { fresh->ask(host); }).detach();
    return one = std::move(fresh);
  }
  void answered(const std::string& host, const std::shared_ptr<LookUp>& one) {
    const std::lock_guard lock(mutex);
    if (const auto found = open.find(host); found != open.end() && found->second == one) open.erase(found);
  }
};

// Throws if errno says that the call before failed because no descriptor was left: then nobody can say which addresses
// there are.
void refuse_without_descriptors() {
  if (const int error = errno; !limit_behind(error).empty())
    throw Error(Code::kOutOfMemory, "addresses of this host: " + text_of_error(error));
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

bool is_address(const std::string& host) { return numeric(host) != nullptr; }

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

std::vector<std::string> addresses_of(const std::string& host, uint64_t until, std::string& why) {
  if (const Resolved found = numeric(host)) return {text_of(found->ai_addr)};
  LookUps& all = one_per_process<LookUps>();
  const std::shared_ptr<LookUp> one = all.of(host);
  const uint64_t since = now_ns();
  const std::chrono::steady_clock::time_point end{std::chrono::nanoseconds(until)};
  std::unique_lock lock(one->mutex);
  if (!one->changed.wait_until(lock, end, [&] { return one->answered; })) {
    why = "the resolver has not answered in " + std::to_string((now_ns() - since) / kMillisecondNs) + " ms";
    return {};
  }
  std::vector<std::string> addresses = one->addresses;  // a copy, because several threads may wait for `one`
  // Without a descriptor left, the resolver's own error may say anything.
  if (one->error != 0) why = ::gai_strerror(one->error) + (descriptors_left(1) == 0 ? limit_behind(EMFILE) : "");
  lock.unlock();
  all.answered(host, one);
  return addresses;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> v4, v6;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) {
    refuse_without_descriptors();
    return v4;
  }
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
  const Resolved found = numeric(address);
  if (found == nullptr) return false;
  const Descriptor fd(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) refuse_without_descriptors();
  return fd && ::bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
}

}  // namespace transload
