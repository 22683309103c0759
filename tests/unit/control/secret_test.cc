// Proofs, and over real sockets who is let in by them: a rank by a rendezvous, and a rendezvous by a rank.
#include "control/secret.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <barrier>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "control/control.h"
#include "control/rendezvous.h"
#include "os/descriptor.h"
#include "tests/support/control_ranks.h"
#include "tests/support/refusal.h"

namespace transload {
namespace {

using meet::kDeadlineMs;

Bootstrap secret_place(uint32_t rank, uint16_t port, const std::string& secret) {
  Bootstrap bootstrap;
  bootstrap.rank = rank;
  bootstrap.ranks = 2;
  bootstrap.port = port;
  bootstrap.secret = secret;
  return bootstrap;
}

constexpr uint32_t kSoonMs = 700;  // less than a rank goes on after a refusal

std::string refusal_of_rank(const Bootstrap& bootstrap) {
  return test::refusal([&] { Control(bootstrap, kDeadlineMs, {0, 0}); });
}

TEST(Secret, Proofs) {
  const std::string nonce = random_nonce(), said = "what is said";
  EXPECT_EQ(nonce.size(), kNonceBytes);
  EXPECT_NE(nonce, random_nonce());
  EXPECT_NE(random_secret(), random_secret());
  const std::string right = proof("secret", {Prover::kMember, nonce, said});
  EXPECT_EQ(right.size(), kProofBytes);
  EXPECT_TRUE(proves(right, "secret", {Prover::kMember, nonce, said}));
  EXPECT_FALSE(proves(right, "secret2", {Prover::kMember, nonce, said}));
  EXPECT_FALSE(proves(right, "secret", {Prover::kServer, nonce, said}));
  EXPECT_FALSE(proves(right, "secret", {Prover::kMember, random_nonce(), said}));
  EXPECT_FALSE(proves(right, "secret", {Prover::kMember, nonce, said + "."}));
  EXPECT_FALSE(proves("", "secret", {Prover::kMember, nonce, said}));
  EXPECT_FALSE(proves(right.substr(1), "secret", {Prover::kMember, nonce, said}));
  EXPECT_EQ(proof("", {Prover::kMember, nonce, said}), "");
  EXPECT_TRUE(proves("", "", {Prover::kMember, nonce, said}));
  EXPECT_TRUE(proves(right, "", {Prover::kMember, nonce, said})) << "nobody has asked";
}

// All halves of all bytes count.
TEST(Secret, MadeOnesAreRandomThroughout) {
  const std::string secret = random_secret();
  EXPECT_EQ(secret.size(), 64u);
  size_t pairs = 0;
  for (size_t i = 0; i < secret.size(); i += 2) pairs += secret[i] == secret[i + 1];
  EXPECT_LT(pairs, 32u);
}

// Ports of jobs: two builds must come to the same.
TEST(Secret, HashStaysWhatItIs) {
  EXPECT_EQ(hash_below("29500", 4096), hash_below("29500", 4096));
  EXPECT_EQ(hash_below("", 4096), 1738u);
}

TEST(Secret, RankWithoutIt) {
  const RendezvousServer server({"127.0.0.1", 0, "", "right"});
  for (const char* wrong : {"", "wrong"}) {
    const std::string why = refusal_of_rank(secret_place(1, server.port(), wrong));
    EXPECT_NE(why.find("does not prove the job's secret"), std::string::npos) << why;
  }
  std::thread other([&] { Control(secret_place(1, server.port(), "right"), kDeadlineMs, {0, 0}).goodbye(); });
  const Control control(secret_place(0, server.port(), "right"), kDeadlineMs, {0, 0});
  EXPECT_EQ(control.trust().choice, "proved");
  other.join();
}

// Its deadline may come before it is sure that no earlier group refuses it: then the refusal is why, not the deadline.
TEST(Secret, RankWithoutItAndWithoutTime) {
  const RendezvousServer server({"127.0.0.1", 0, "", "right"});
  try {
    Control(secret_place(1, server.port(), "wrong"), kSoonMs, {0, 0});
    ADD_FAILURE() << "a rank without the secret was let in";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument) << error.what();
  }
}

// Whoever took the port of the rendezvous cannot play it.
TEST(Secret, RendezvousWithoutIt) {
  const RendezvousServer server({"127.0.0.1", 0, "", ""});
  std::thread other([&] {
    const std::string why = refusal_of_rank(secret_place(1, server.port(), "right"));
    EXPECT_NE(why.find("does not prove the job's secret"), std::string::npos) << why;
  });
  const std::string why = refusal_of_rank(secret_place(0, server.port(), "right"));
  EXPECT_NE(why.find("does not prove the job's secret"), std::string::npos) << why;
  other.join();
}

// A rendezvous of another build says so first, whatever else it would understand.
TEST(Secret, RendezvousOfAnotherBuild) {
  const Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::thread rendezvous([&] {
    const Descriptor member(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string frame = pack(Challenge{random_nonce()});
    ++frame[kFrameHeadBytes + 4];  // its protocol
    EXPECT_EQ(::send(member.get(), frame.data(), frame.size(), MSG_NOSIGNAL), ssize_t(frame.size()));
    char byte = 0;
    EXPECT_EQ(::recv(member.get(), &byte, 1, 0), 0);  // is told nothing
  });
  const std::string why = refusal_of_rank(secret_place(0, ntohs(address.sin_port), ""));
  EXPECT_NE(why.find("all ranks must run one build"), std::string::npos) << why;
  rendezvous.join();
}

// With an all-gather of the caller's, rank 0 makes one for the group.
TEST(Secret, ByTheCallersAllGather) {
  std::vector<char> shared;
  std::barrier all_here(2);
  std::mutex mutex;
  std::vector<std::thread> ranks;
  for (const uint32_t rank : {0, 1}) {
    ranks.emplace_back([&, rank] {
      Bootstrap bootstrap = secret_place(rank, 0, "");
      bootstrap.all_gather = [&, rank](const void* mine, size_t bytes, void* all) {
        {
          std::lock_guard lock(mutex);
          shared.resize(bytes * 2);
          std::memcpy(shared.data() + rank * bytes, mine, bytes);
        }
        all_here.arrive_and_wait();
        std::memcpy(all, shared.data(), bytes * 2);
        all_here.arrive_and_wait();
      };
      Control control(bootstrap, kDeadlineMs, {0, 0});
      EXPECT_EQ(control.trust().choice, "proved");
      control.goodbye();
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

// A group may be waited for longer than a call: the first rank is there before the deadline of calls ends.
TEST(Creation, HasItsOwnDeadline) {
  Rendezvous rendezvous;
  std::thread early([&] {
    Control control(secret_place(0, rendezvous.port(), ""), {50, 600'000}, {0, 0});
    EXPECT_EQ(control.gather("a").at(1), "b");
    control.made();
    EXPECT_THROW(control.gather("nobody else comes"), Error);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  Control late(secret_place(1, rendezvous.port(), ""), {50, 600'000}, {0, 0});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(late.gather("b").at(0), "a");
  early.join();
}

}  // namespace
}  // namespace transload
