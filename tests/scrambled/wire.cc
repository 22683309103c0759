// Sending and receiving; whatever the kernel says that is not expected stops the process.
#include "tests/scrambled/wire.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace scrambled {
namespace {

constexpr int kSendBytes = 1 << 20;  // as much as there may be: readers that have stopped keep some of it

[[noreturn]] void stop(const char* what) {
  std::perror(what);
  std::abort();
}

int open_socket() { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

sockaddr_un address_of(const std::string& name) {
  sockaddr_un address{};
  std::memcpy(&address, name.data(), name.size());
  return address;
}

std::string name_of(const sockaddr_un& address, socklen_t bytes) {
  return std::string(reinterpret_cast<const char*>(&address), bytes);
}

}  // namespace

Wire::Wire() : socket_(open_socket()), looking_(open_socket()) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // With no name given the kernel finds one.
  if (socket_ < 0 || looking_ < 0 ||
      ::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address.sun_family)) != 0)
    stop("scrambled fabric: a socket");
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof(kSendBytes));
  socklen_t bytes = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 || bytes != kNameBytes)
    stop("scrambled fabric: its name");
  name_ = name_of(address, bytes);
}

Wire::~Wire() {
  ::close(socket_);
  ::close(looking_);
}

bool Wire::exists(const std::string& name) {
  const sockaddr_un address = address_of(name);
  return ::connect(looking_, reinterpret_cast<const sockaddr*>(&address), socklen_t(name.size())) == 0;
}

Wire::Sent Wire::send(const std::string& to, const Message& message, const void* payload) {
  iovec parts[] = {{const_cast<Message*>(&message), sizeof(message)}, {const_cast<void*>(payload), message.bytes}};
  sockaddr_un address = address_of(to);
  msghdr header{};
  header.msg_name = &address;
  header.msg_namelen = socklen_t(to.size());
  header.msg_iov = parts;
  header.msg_iovlen = 2;
  if (::sendmsg(socket_, &header, MSG_NOSIGNAL) >= 0) return Sent::kYes;
  if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) return Sent::kFull;
  if (errno == ECONNREFUSED || errno == ENOENT || errno == EPIPE) return Sent::kGone;
  stop("scrambled fabric: sending");
}

bool Wire::receive(std::string& from, Message& message, const char*& payload) {
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  const ssize_t got = ::recvfrom(socket_, buffer_, sizeof(buffer_), 0, reinterpret_cast<sockaddr*>(&address), &bytes);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got < ssize_t(sizeof(message))) stop("scrambled fabric: receiving");
  std::memcpy(&message, buffer_, sizeof(message));
  payload = buffer_ + sizeof(message);
  from = name_of(address, bytes);
  return true;
}

}  // namespace scrambled
