// Frames over one TCP socket: see frame_socket.h.
#include "control/frame_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "control/address.h"
#include "os/clock.h"
#include "os/host.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint64_t kDialNs = 2'000 * kMillisecondNs;  // time for one address; short, because there may be others to try

Resolved endpoint(const std::string& address, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) found = nullptr;
  return {found, &::freeaddrinfo};
}

// True once `fd` is ready for `events`; false at the deadline.
bool wait_for(int fd, short events, uint64_t until) {
  while (true) {
    const uint64_t now = now_ns();
    const uint64_t left_ms = now >= until ? 0 : (until - now + kMillisecondNs - 1) / kMillisecondNs;
    pollfd ready{fd, events, 0};
    const int count = ::poll(&ready, 1, int(left_ms < 1000 ? left_ms : 1000));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // the next call on the socket tells what is wrong
    if (now_ns() >= until) return false;
  }
}

}  // namespace

bool FrameSocket::dial(const std::string& host, uint16_t port, uint64_t until, std::string& why) {
  std::string unknown;
  const std::vector<std::string> addresses = addresses_of(host, std::min(until, now_ns() + kLookUpNs), unknown);
  if (addresses.empty()) why = "cannot resolve the name " + host + " (bootstrap.host, MASTER_ADDR): " + unknown;
  for (const std::string& address : addresses) {
    const Resolved at = endpoint(address, port);
    if (at != nullptr && connect_to(*at, std::min(until, now_ns() + kDialNs), why)) return true;
    if (address != host) why = address + ": " + why;
  }
  return false;
}

bool FrameSocket::connect_to(const addrinfo& address, uint64_t until, std::string& why) {
  Descriptor fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && (errno == EMFILE || errno == ENFILE)) {
    throw Error(Code::kOutOfMemory, "control socket: " + text_of_error(errno));
  }
  if (!fd) {
    why = std::strerror(errno);
    return false;
  }
  int error = ::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    socklen_t size = sizeof error;
    if (!wait_for(fd.get(), POLLOUT, until)) {
      error = ETIMEDOUT;
    } else if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  if (error != 0) {
    why = std::strerror(error);
    return false;
  }
  // A connection to a free port of this host may meet itself.
  sockaddr_storage here{}, there{};
  socklen_t here_size = sizeof here, there_size = sizeof there;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&here), &here_size) != 0 ||
      ::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&there), &there_size) != 0 ||
      (here_size == there_size && std::memcmp(&here, &there, here_size) == 0)) {
    why = "nobody listens there";
    return false;
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  fd_ = std::move(fd);
  buffer_.clear();
  taken_ = 0;
  return true;
}

bool FrameSocket::send(const std::string& frame, uint64_t until) {
  const std::lock_guard lock(send_mutex_);
  size_t sent = 0;
  while (sent < frame.size()) {
    const ssize_t now = ::send(fd_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (now > 0) {
      sent += size_t(now);
    } else if (now < 0 && errno == EINTR) {
      continue;
    } else if (now < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (wait_for(fd_.get(), POLLOUT, until)) continue;
      if (sent > 0) shut_down();  // half a frame has left, and nothing can follow it
      return false;
    } else {
      return false;
    }
  }
  return true;
}

FrameSocket::Got FrameSocket::receive(FrameType& type, std::string& body, uint64_t until) {
  while (true) {
    if (buffer_.size() - taken_ >= kFrameHeadBytes) {
      const FrameHead head = unpack_head(buffer_.data() + taken_);
      if (head.body_bytes > kFrameBytesMax) return Got::kGarbage;
      if (buffer_.size() - taken_ >= kFrameHeadBytes + head.body_bytes) {
        type = FrameType(head.type);
        body.assign(buffer_, taken_ + kFrameHeadBytes, head.body_bytes);
        taken_ += kFrameHeadBytes + head.body_bytes;
        return Got::kFrame;
      }
    }
    buffer_.erase(0, taken_);
    taken_ = 0;
    char chunk[16384];
    const ssize_t now = ::recv(fd_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
    if (now > 0) {
      buffer_.append(chunk, size_t(now));
    } else if (now == 0) {
      return Got::kEnd;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(fd_.get(), POLLIN, until)) return Got::kNothing;
    } else if (errno != EINTR) {
      return Got::kEnd;
    }
  }
}

void FrameSocket::shut_down() {
  if (fd_) ::shutdown(fd_.get(), SHUT_RDWR);
}

std::string FrameSocket::here() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  auto* const at = reinterpret_cast<sockaddr*>(&address);
  return ::getsockname(fd_.get(), at, &size) == 0 ? text_of(at) : "";
}

std::string FrameSocket::there() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  auto* const at = reinterpret_cast<sockaddr*>(&address);
  return ::getpeername(fd_.get(), at, &size) == 0 ? text_of(at) : "";
}

}  // namespace transload
