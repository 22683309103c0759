// Addresses as people, launchers and sockets write them.
#include "control/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>

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

TEST(Address, OfThisHost) {
  const std::vector<std::string> localhost = addresses_of("localhost");
  ASSERT_FALSE(localhost.empty());
  EXPECT_TRUE(std::all_of(localhost.begin(), localhost.end(), is_loopback));
  EXPECT_TRUE(addresses_of("no.such.name.invalid").empty());
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

}  // namespace
}  // namespace transload
