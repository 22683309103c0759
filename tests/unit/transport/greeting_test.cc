// A greeting that cannot be read: whose fault that is.
#include "transport/scaleup/greeting.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>

#include "os/descriptor.h"

namespace transload {
namespace {

thread_local int g_receiving_fails = 0;  // with this errno, on this thread

}  // namespace
}  // namespace transload

// In place of the system's.
extern "C" ssize_t recvmsg(int socket, msghdr* message, int flags) {
  using Receive = ssize_t (*)(int, msghdr*, int);
  static const auto receive = reinterpret_cast<Receive>(::dlsym(RTLD_NEXT, "recvmsg"));
  if (transload::g_receiving_fails == 0) return receive(socket, message, flags);
  errno = transload::g_receiving_fails;
  return -1;
}

namespace transload {
namespace {

TEST(Greeting, WantOfThisMachineIsNotTheOthersEnd) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor mine(ends[0]);
  Descriptor theirs(ends[1]);
  Greeting greeting{};
  for (const int error : {EAGAIN, EINTR, ENOMEM, ENOBUFS}) {
    g_receiving_fails = error;
    EXPECT_EQ(receive_greeting(mine.get(), greeting, nullptr), Heard::kNothing) << error;
  }
  g_receiving_fails = ECONNRESET;
  EXPECT_EQ(receive_greeting(mine.get(), greeting, nullptr), Heard::kEnd);
  g_receiving_fails = 0;
  EXPECT_EQ(receive_greeting(mine.get(), greeting, nullptr), Heard::kNothing);
  EXPECT_EQ(send_greeting(theirs.get(), Greeting{}, nullptr), 0);
  EXPECT_EQ(receive_greeting(mine.get(), greeting, nullptr), Heard::kGreeting);
  theirs = Descriptor();
  EXPECT_EQ(receive_greeting(mine.get(), greeting, nullptr), Heard::kEnd);
}

}  // namespace
}  // namespace transload
