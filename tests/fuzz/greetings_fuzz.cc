// What a stranger on this host says at the socket of a region, and what a caller's all-gather gives: no descriptor is
// kept that was not asked for, and an invitation is one that its rank could have sent.
//
// Input: a byte that says what follows: an invitation and of which rank, or so many descriptors and then messages,
// each with its length before it.
#include "control/invitation.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/bytes.h"
#include "tests/fuzz/target.h"
#include "transload/status.h"
#include "transport/scaleup/greeting.h"

namespace transload {
namespace {

constexpr size_t kFdsMost = 4;  // two more than anybody asks for

void say(int socket, const std::string& bytes, size_t fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMost * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fds > 0) {
    const int passed[kFdsMost] = {socket, socket, socket, socket};
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds * sizeof(int));
    std::memcpy(CMSG_DATA(head), passed, fds * sizeof(int));
  }
  TRANSLOAD_CHECK(::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == ssize_t(bytes.size()));
}

int lowest_free() {
  const Descriptor next(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  TRANSLOAD_CHECK(next);
  return next.get();
}

void hear(int socket, const std::string& said, size_t fds, bool wanted) {
  const int free = lowest_free();
  {
    Greeting greeting;
    Passed passed;
    const Heard heard = receive_greeting(socket, greeting, wanted ? &passed : nullptr);
    TRANSLOAD_CHECK(heard != Heard::kNothing);
    TRANSLOAD_CHECK(wanted || (!passed.bell && !passed.region));
    if (heard == Heard::kGreeting) {
      TRANSLOAD_CHECK(said.size() == sizeof greeting && std::memcmp(said.data(), &greeting, sizeof greeting) == 0);
      TRANSLOAD_CHECK(greeting.zero == 0 && (!wanted || (passed.bell && fds <= 2)));
      TRANSLOAD_CHECK(!wanted || bool(passed.region) == (fds == 2));
    }
  }
  TRANSLOAD_CHECK(lowest_free() == free);  // what was passed has gone with who owned it
}

void greet(ByteReader& in, uint8_t how) {
  int ends[2];
  TRANSLOAD_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  const Descriptor mine(ends[0]), theirs(ends[1]);
  const size_t fds = how / 4 % (kFdsMost + 1);
  for (int messages = 0; messages < 4 && in.left() > 0; ++messages) {
    const std::string said = in.text();
    say(theirs.get(), said, fds);
    hear(mine.get(), said, fds, how % 2 == 0);
  }
}

void invite(std::string_view bytes, uint32_t rank) {
  try {
    const Invitation invitation = Invitation::unpack(rank, bytes);
    TRANSLOAD_CHECK(invitation.pack() == bytes && (!invitation.host.empty() || !invitation.problem.empty()));
    TRANSLOAD_CHECK((invitation.port != 0) == (invitation.server != 0));
    TRANSLOAD_CHECK(rank == 0 ? invitation.problem.empty() == (invitation.port != 0)
                              : invitation.port == 0 && invitation.addresses.empty());
  } catch (const Error& error) {
    TRANSLOAD_CHECK(error.code() == Code::kInvalidArgument);
    TRANSLOAD_CHECK(std::string_view(error.what()).find("rank " + std::to_string(rank)) != std::string_view::npos);
  }
}

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  if (bytes == 0) return 0;
  const std::string_view words = text_of(data + 1, bytes - 1);
  if (data[0] >= 0x80) {  // zeros, of which most of an invitation consists, need not be said
    std::string invitation(words);
    if (invitation.size() < Invitation::kBytes) invitation.resize(Invitation::kBytes);
    invite(invitation, data[0] % 2);
  } else {
    ByteReader in(words);
    greet(in, data[0]);
  }
  return 0;
}
