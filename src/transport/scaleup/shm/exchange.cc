// One message each way and pair: who I am, with the descriptors of my bell and of my region, if it has one. See
// exchange.h.
#include "transport/scaleup/shm/exchange.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/clock.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr int kRetryMs = 5;  // for a peer whose queue of callers is full

struct Greeting {
  uint64_t secret;  // of the rank that is called
  uint64_t region;  // of the sender
  uint32_t rank;    // of the sender
  uint32_t zero;
};

socklen_t address_of(uint64_t region, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  // A leading zero byte: the abstract name space, which no file system sees.
  const int length = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "transload-%016llx",
                                   (unsigned long long)(region));
  return socklen_t(offsetof(sockaddr_un, sun_path) + 1 + size_t(length));
}

Descriptor new_socket() {
  Descriptor fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd)
    throw Error(Code::kOutOfMemory, std::string("shared region: no socket (see ulimit -n): ") + std::strerror(errno));
  return fd;
}

bool send_greeting(int fd, const Greeting& greeting, const Neighbour& mine) {
  Greeting copy = greeting;
  iovec part{&copy, sizeof copy};
  const int fds[2] = {mine.bell.get(), mine.region->fd()};
  const size_t passed = (fds[1] >= 0 ? 2 : 1) * sizeof(int);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(passed);
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(passed);
  std::memcpy(CMSG_DATA(head), fds, passed);
  return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == ssize_t(sizeof copy);
}

enum class Heard : uint8_t { kGreeting, kNothing, kEnd };

// Whatever descriptors come are owned at once, wanted or not.
Heard receive_greeting(int fd, Greeting& greeting, Descriptor (&got)[2]) {
  iovec part{&greeting, sizeof greeting};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t bytes = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (bytes < 0) return errno == EAGAIN || errno == EINTR ? Heard::kNothing : Heard::kEnd;
  size_t count = 0;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN((at + 1) * sizeof(int)) <= head->cmsg_len; ++at) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(head) + at * sizeof(int), sizeof passed);
      Descriptor owned(passed);
      if (count < 2) got[count++] = std::move(owned);
    }
  }
  const bool whole =
      bytes == ssize_t(sizeof greeting) && count >= 1 && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  return whole ? Heard::kGreeting : Heard::kEnd;
}

bool same_user(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == ::geteuid();
}

class Exchange {
 public:
  Exchange(const ExchangeSides& sides, const std::vector<uint32_t>& wanted) : sides_(sides) {
    for (uint32_t rank : wanted) (rank > sides.rank ? to_call_ : awaited_).push_back(rank);
  }

  std::map<uint32_t, std::shared_ptr<Neighbour>> run() {
    const uint64_t until = now_ns() + sides_.deadline_ms * kMillisecond;
    while (true) {
      call_all();
      if (to_call_.empty() && calls_.empty() && awaited_.empty()) return std::move(done_);
      const uint64_t now = now_ns();
      if (now >= until) fail(FaultKind::kAbsent, lowest_missing(), "it did not pass its memory within the deadline");
      const uint64_t left_ms = std::min<uint64_t>((until - now) / kMillisecond + 1, 1000);
      wait(to_call_.empty() ? int(left_ms) : kRetryMs);
    }
  }

 private:
  struct Caller {
    Descriptor fd;
    uint32_t rank = 0;  // of a call of mine
  };

  [[noreturn]] void fail(FaultKind kind, uint32_t rank, const std::string& detail) const {
    Fault fault;
    fault.kind = kind;
    fault.rank = sides_.rank;
    fault.culprit_rank = rank;
    fault.operation = "create";
    fault.waiting_for = "the memory of rank " + std::to_string(rank);
    fault.detail = detail;
    throw Error(fault);
  }

  uint32_t lowest_missing() const {
    uint32_t lowest = ~uint32_t(0);
    for (uint32_t rank : to_call_) lowest = std::min(lowest, rank);
    for (uint32_t rank : awaited_) lowest = std::min(lowest, rank);
    for (const Caller& call : calls_) lowest = std::min(lowest, call.rank);
    return lowest;
  }

  Greeting greeting_for(uint32_t rank) const {
    return {sides_.offers[rank].secret, sides_.offers[sides_.rank].region, sides_.rank, 0};
  }

  void call_all() {
    const auto called = [&](uint32_t rank) {
      Descriptor fd = new_socket();
      sockaddr_un address;
      const socklen_t size = address_of(sides_.offers[rank].region, address);
      if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
        if (errno == EAGAIN || errno == EINTR) return false;  // its queue is full: later
        fail(FaultKind::kLost, rank, "its process is gone");
      }
      if (!send_greeting(fd.get(), greeting_for(rank), sides_.mine))
        fail(FaultKind::kLost, rank, "its process is gone");
      calls_.push_back({std::move(fd), rank});
      return true;
    };
    to_call_.erase(std::remove_if(to_call_.begin(), to_call_.end(), called), to_call_.end());
  }

  void wait(int timeout_ms) {
    std::vector<pollfd> ready{{sides_.listener, POLLIN, 0}};
    for (const Caller& call : calls_) ready.push_back({call.fd.get(), POLLIN, 0});
    for (const Caller& guest : guests_) ready.push_back({guest.fd.get(), POLLIN, 0});
    if (::poll(ready.data(), ready.size(), timeout_ms) <= 0) return;
    // Back to front: entries that are done are erased.
    for (size_t i = guests_.size(); i-- > 0;)
      if (ready[1 + calls_.size() + i].revents != 0) hear_guest(i);
    for (size_t i = calls_.size(); i-- > 0;)
      if (ready[1 + i].revents != 0) hear_answer(i);
    if (ready[0].revents != 0) accept_guests();
  }

  void accept_guests() {
    while (true) {
      Descriptor fd(::accept4(sides_.listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd && (errno == EMFILE || errno == ENFILE))
        throw Error(Code::kOutOfMemory,
                    std::string("shared region: no socket (see ulimit -n): ") + std::strerror(errno));
      if (!fd) return;
      if (same_user(fd.get())) guests_.push_back({std::move(fd), 0});
    }
  }

  void hear_answer(size_t i) {
    Greeting greeting{};
    Descriptor got[2];
    const Heard heard = receive_greeting(calls_[i].fd.get(), greeting, got);
    if (heard == Heard::kNothing) return;
    const uint32_t rank = calls_[i].rank;
    if (heard == Heard::kEnd) fail(FaultKind::kLost, rank, "its process ended, or refused what I passed");
    if (greeting.rank != rank || !keep(greeting, got))
      fail(FaultKind::kMismatch, rank, "what it passed is not what it offered");
    calls_.erase(calls_.begin() + long(i));
  }

  // A caller that is not awaited, or knows no secret, is none of ours.
  void hear_guest(size_t i) {
    Greeting greeting{};
    Descriptor got[2];
    const Heard heard = receive_greeting(guests_[i].fd.get(), greeting, got);
    if (heard == Heard::kNothing) return;
    const auto awaited = std::find(awaited_.begin(), awaited_.end(), greeting.rank);
    const bool ours = heard == Heard::kGreeting && greeting.secret == sides_.offers[sides_.rank].secret;
    if (ours && awaited != awaited_.end()) {
      if (!send_greeting(guests_[i].fd.get(), greeting_for(greeting.rank), sides_.mine))
        fail(FaultKind::kLost, greeting.rank, "its process is gone");
      if (!keep(greeting, got)) fail(FaultKind::kMismatch, greeting.rank, "what it passed is not what it offered");
      awaited_.erase(awaited);
    }
    guests_.erase(guests_.begin() + long(i));
  }

  bool keep(const Greeting& greeting, Descriptor (&got)[2]) {
    const RegionOffer& offer = sides_.offers[greeting.rank];
    if (greeting.region != offer.region) return false;
    auto neighbour = std::make_shared<Neighbour>();
    neighbour->bell = std::move(got[0]);
    neighbour->region = sides_.mine.region->map(offer.peer(greeting.rank), std::move(got[1]));
    // A bell that blocks would let a peer hold me up.
    const int flags = ::fcntl(neighbour->bell.get(), F_GETFL);
    if (neighbour->region == nullptr || flags < 0 || (flags & O_NONBLOCK) == 0) return false;
    done_[greeting.rank] = std::move(neighbour);
    return true;
  }

  const ExchangeSides& sides_;
  std::vector<uint32_t> to_call_, awaited_;
  std::vector<Caller> calls_, guests_;
  std::map<uint32_t, std::shared_ptr<Neighbour>> done_;
};

}  // namespace

Descriptor listen_for(uint64_t region) {
  Descriptor fd = new_socket();
  sockaddr_un address;
  const socklen_t size = address_of(region, address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd.get(), SOMAXCONN) != 0)
    throw Error(Code::kOutOfMemory, std::string("shared region: cannot listen for peers: ") + std::strerror(errno));
  return fd;
}

std::map<uint32_t, std::shared_ptr<Neighbour>> exchange(const ExchangeSides& sides,
                                                        const std::vector<uint32_t>& wanted) {
  return Exchange(sides, wanted).run();
}

}  // namespace transload
