// Greetings over a socket that keeps messages apart: see greeting.h.
#include "transport/scaleup/greeting.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "os/host.h"
#include "transload/status.h"

namespace transload {

int send_greeting(int socket, Greeting greeting, const GreetingFds* passed) {
  iovec part{&greeting, sizeof greeting};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  if (passed != nullptr) {
    const int fds[2] = {passed->bell, passed->region};
    const size_t bytes = (fds[1] >= 0 ? 2 : 1) * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(head), fds, bytes);
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

Heard receive_greeting(int socket, Greeting& greeting, Passed* passed) {
  iovec part{&greeting, sizeof greeting};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passed != nullptr) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  const ssize_t bytes = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (bytes < 0) {  // an error of this machine says nothing of the other side
    const bool again = errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS;
    return again ? Heard::kNothing : Heard::kEnd;
  }
  const bool whole = bytes == ssize_t(sizeof greeting) && (message.msg_flags & MSG_TRUNC) == 0 && greeting.zero == 0;
  if (passed == nullptr) return whole ? Heard::kGreeting : Heard::kEnd;
  size_t count = 0;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN((at + 1) * sizeof(int)) <= head->cmsg_len; ++at) {
      int next = -1;
      std::memcpy(&next, CMSG_DATA(head) + at * sizeof(int), sizeof next);
      Descriptor owned(next);
      if (count < 2) (count == 0 ? passed->bell : passed->region) = std::move(owned);
      ++count;
    }
  }
  const bool cut = (message.msg_flags & MSG_CTRUNC) != 0;
  if (cut && count < 2)
    throw Error(Code::kOutOfMemory,
                "shared region: no descriptor is left for what a peer passed: " + text_of_error(EMFILE));
  return whole && !cut && count >= 1 ? Heard::kGreeting : Heard::kEnd;
}

}  // namespace transload
