// Addresses as people, launchers and sockets write them.
#include "control/address.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string_view>

#include "control/control.h"
#include "os/clock.h"
#include "tests/support/control_ranks.h"
#include "tests/support/patience.h"

namespace transload {
namespace {

constexpr const char* kSlowName = "slow.example";

// While it lives, the resolver of this program does not answer for one name before it is told to.
class SlowResolver {
 public:
  SlowResolver() {
    const std::lock_guard lock(mutex);
    answers = false;
    questions = 0;
  }
  ~SlowResolver() { answer(); }
  void answer() const {
    const std::lock_guard lock(mutex);
    answers = true;
    changed.notify_all();
  }
  uint32_t asked() const {
    const std::lock_guard lock(mutex);
    return questions;
  }
  static void wait() {
    std::unique_lock lock(mutex);
    ++questions;
    changed.wait(lock, [] { return answers; });
  }

 private:
  static inline std::mutex mutex;
  static inline std::condition_variable changed;
  static inline bool answers = true;
  static inline uint32_t questions = 0;
};

std::atomic<const char*> g_localhost = nullptr;  // what it stands for; null: what the system says

}  // namespace
}  // namespace transload

// In place of the system's.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  using Resolver = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto resolver = reinterpret_cast<Resolver>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  const std::string_view name = host != nullptr ? host : "";
  const char* const localhost = transload::g_localhost;
  if (localhost != nullptr && name == "localhost") return resolver(localhost, service, hints, found);
  const bool slow = name == transload::kSlowName;
  if (!slow || (hints->ai_flags & AI_NUMERICHOST) != 0) return resolver(host, service, hints, found);
  transload::SlowResolver::wait();
  return resolver("127.0.0.1", service, hints, found);
}

namespace transload {
namespace {

TEST(Address, Brackets) {
  EXPECT_EQ(bare_host("[::1]"), "::1");
  EXPECT_EQ(bare_host("::1"), "::1");
  EXPECT_EQ(bare_host("node7"), "node7");
  EXPECT_EQ(bare_host("[]"), "[]");
  EXPECT_EQ(bare_host(""), "");
  EXPECT_EQ(with_port("::1", 7), "[::1]:7");
  EXPECT_EQ(with_port("[::1]", 7), "[::1]:7");
  EXPECT_EQ(with_port("10.0.0.1", 7), "10.0.0.1:7");
  EXPECT_EQ(with_port("node7", 7), "node7:7");
}

TEST(Address, Kinds) {
  for (const char* const address : {"127.0.0.1", "::1", "fd00::7", "0.0.0.0", "::"}) EXPECT_TRUE(is_address(address));
  for (const char* const name : {"localhost", "node7.example", "[::1]", ""}) EXPECT_FALSE(is_address(name)) << name;
  for (const char* const here : {"127.0.0.1", "127.0.1.1", "::1", "localhost"}) EXPECT_TRUE(is_loopback(here));
  for (const char* const there : {"10.0.0.1", "fd00::1", "node7"}) EXPECT_FALSE(is_loopback(there));
  EXPECT_TRUE(is_own("127.0.0.1"));
  EXPECT_FALSE(is_own("192.0.2.1"));
  EXPECT_FALSE(is_own("node7"));
}

TEST(Address, TextOfSockets) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(0x0A000001);
  EXPECT_EQ(text_of(reinterpret_cast<sockaddr*>(&v4)), "10.0.0.1");
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  ASSERT_EQ(::inet_pton(AF_INET6, "fd00::7", &v6.sin6_addr), 1);
  EXPECT_EQ(text_of(reinterpret_cast<sockaddr*>(&v6)), "fd00::7");
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:10.0.0.1", &v6.sin6_addr), 1);  // by a socket of both families
  EXPECT_EQ(text_of(reinterpret_cast<sockaddr*>(&v6)), "10.0.0.1");
}

uint64_t in(std::chrono::nanoseconds time) { return now_ns() + uint64_t(time.count()); }

TEST(Address, OfThisHost) {
  std::string why;
  const std::vector<std::string> localhost = addresses_of("localhost", in(kPatience), why);
  ASSERT_FALSE(localhost.empty());
  EXPECT_TRUE(std::all_of(localhost.begin(), localhost.end(), is_loopback));
  EXPECT_EQ(addresses_of("::ffff:10.0.0.1", 0, why), std::vector<std::string>{"10.0.0.1"});
  EXPECT_EQ(why, "");
  EXPECT_TRUE(addresses_of("no.such.name.invalid", in(std::chrono::seconds(1)), why).empty());
  EXPECT_NE(why, "");
  bool v6_seen = false;
  for (const std::string& own : own_addresses()) {
    EXPECT_TRUE(is_address(own)) << own;
    EXPECT_FALSE(is_loopback(own)) << own;
    EXPECT_NE(own.rfind("fe80:", 0), 0u) << own;
    const bool v6 = own.find(':') != std::string::npos;
    EXPECT_TRUE(v6 || !v6_seen) << own;
    v6_seen |= v6;
  }
}

// Whoever looks is let go at his time; whoever looks again waits for the same answer.
TEST(Address, OfAResolverThatDoesNotAnswer) {
  std::string why;
  const SlowResolver slow;
  EXPECT_TRUE(addresses_of(kSlowName, in(std::chrono::milliseconds(30)), why).empty());
  EXPECT_EQ(why.rfind("the resolver has not answered in ", 0), 0u) << why;
  EXPECT_TRUE(addresses_of(kSlowName, in(std::chrono::milliseconds(30)), why).empty());
  EXPECT_TRUE(eventually([&] { return slow.asked() == 1; }));
  slow.answer();
  EXPECT_EQ(addresses_of(kSlowName, in(kPatience), why), std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(slow.asked(), 1u);
}

// Joining ends at its deadline, and says by which name and variable.
TEST(Address, OfAResolverThatKeepsAJobWaiting) {
  const SlowResolver slow;
  Bootstrap bootstrap;
  bootstrap.rank = 1;
  bootstrap.ranks = 2;
  bootstrap.host = kSlowName;
  bootstrap.port = 9;
  try {
    Control control(bootstrap, 100, {0, 0});
    ADD_FAILURE() << "joined";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("cannot resolve the name slow.example (bootstrap.host, MASTER_ADDR)"), std::string::npos)
        << text;
  }
  slow.answer();
}

// Where the name stands for one family alone, rank 0 listens where the others dial.
TEST(Address, LocalhostOfOneFamily) {
  for (const char* const address : {"127.0.0.1", "::1"}) {
    if (address[0] == ':' && !meet::has_v6()) GTEST_SKIP() << "this machine has no IPv6";
    g_localhost = address;
    const uint16_t port = [] { return RendezvousServer({}).port(); }();
    meet::as_threads(2, [&](uint32_t rank) {
      Bootstrap bootstrap = meet::place(rank, 2, port);
      bootstrap.host = "localhost";
      bootstrap.serve = rank == 0;
      Control control(bootstrap, meet::kDeadlineMs, meet::one_node(2));
      EXPECT_EQ(control.gather("").size(), 2u);
      EXPECT_EQ(control.local_address(), address);
      control.goodbye();
    });
    g_localhost = nullptr;
  }
}

}  // namespace
}  // namespace transload
