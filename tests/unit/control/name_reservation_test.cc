// Groups that give the same name, over real sockets: two of one process are refused, and who may meet again does.
#include "control/name_reservation.h"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "control/control.h"
#include "control/rendezvous.h"
#include "tests/support/refusal.h"

namespace transload {
namespace {

using test::refusal;

Bootstrap bootstrap_of(uint32_t rank, uint32_t ranks, uint16_t port) {
  Bootstrap bootstrap;
  bootstrap.rank = rank;
  bootstrap.ranks = ranks;
  bootstrap.port = port;
  return bootstrap;
}

std::unique_ptr<Control> join(const Bootstrap& bootstrap, uint32_t deadline_ms = 60'000) {
  return std::make_unique<Control>(bootstrap, deadline_ms, std::vector<uint32_t>(bootstrap.ranks, 0));
}

// Both ranks of a group, as threads of this process.
using Pair = std::array<std::unique_ptr<Control>, 2>;
Pair join_both(uint16_t port) {
  auto other = std::async(std::launch::async, [port] { return join(bootstrap_of(1, 2, port)); });
  Pair pair{join(bootstrap_of(0, 2, port))};
  pair[1] = other.get();
  return pair;
}

TEST(NameReservation, SecondGroupOfAName) {
  Rendezvous rendezvous;
  const Pair first = join_both(rendezvous.port());
  for (const auto& control : first) control->made();
  for (const uint32_t rank : {0, 1}) {
    const std::string why = refusal([&] { join(bootstrap_of(rank, 2, rendezvous.port())); });
    EXPECT_NE(why.find("bootstrap.name: \"default\": rank " + std::to_string(rank)), std::string::npos) << why;
  }
  for (const uint32_t rank : {0, 1}) EXPECT_EQ(first[rank]->settled().kind, FaultKind::kNone);
  Bootstrap other = bootstrap_of(0, 1, rendezvous.port());
  other.name = "other";
  EXPECT_EQ(join(other)->gather("mine").at(0), "mine");
}

// While the first is being made, the other ranks may mean either: neither is had.
TEST(NameReservation, WhileTheFirstIsMade) {
  Rendezvous rendezvous;
  const Pair first = join_both(rendezvous.port());
  refusal([&] { join(bootstrap_of(0, 2, rendezvous.port())); });
  const std::string why = refusal([&] { first[0]->made(); });
  EXPECT_NE(why.find("bootstrap.name"), std::string::npos) << why;
  first[1]->made();
}

// A goodbye gives the name back: no group needs to be freed first.
TEST(NameReservation, OneAfterTheOther) {
  Rendezvous rendezvous;
  std::vector<Pair> pairs;
  for (int again = 0; again < 3; ++again) {
    const Pair& pair = pairs.emplace_back(join_both(rendezvous.port()));
    for (const auto& control : pair) EXPECT_NO_THROW(control->made());
    for (const auto& control : pair) control->goodbye();
    for (const auto& control : pair) EXPECT_EQ(control->settled().kind, FaultKind::kNone);
  }
}

// Rank 0 has tried in vain once more than the others, and all keep what is left of the group that failed.
TEST(NameReservation, SurvivorsTakeTheNameAgain) {
  Rendezvous rendezvous;
  const uint16_t port = rendezvous.port();
  EXPECT_THROW(join(bootstrap_of(0, 2, port), 60), Error);
  std::array<std::unique_ptr<Control>, 3> old;
  std::vector<std::thread> threads;
  for (const uint32_t rank : {0, 1, 2})
    threads.emplace_back([&, rank] { old[rank] = join(bootstrap_of(rank, 3, port)); });
  for (std::thread& thread : threads) thread.join();
  old[2].reset();  // lost
  threads.clear();
  for (const uint32_t rank : {0, 1}) {
    threads.emplace_back([&, rank] {
      EXPECT_THROW(old[rank]->gather(""), Error);
      const std::unique_ptr<Control> next = join(bootstrap_of(rank, 2, port));
      EXPECT_EQ(next->gather(std::to_string(rank)).at(1), "1");
      next->made();
      next->goodbye();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(NameReservation, OfAJobAndAName) {
  Bootstrap a = bootstrap_of(0, 2, 1), b = a;
  const auto both = [&] { return refusal([&] { const NameReservation first(a), second(b); }).empty(); };
  EXPECT_FALSE(both());
  a.job = "a", a.name = "bc";
  b.job = "ab", b.name = "c";
  EXPECT_TRUE(both());
  b.job = a.job, b.name = a.name;
  EXPECT_FALSE(both());
  a.port = b.port = 0;  // each has a rendezvous of its own
  EXPECT_TRUE(both());
}

// One that was judged has no name any more: what becomes of its follower is not its own affair.
TEST(NameReservation, WhoseNameIsTakenAgain) {
  const Bootstrap bootstrap = bootstrap_of(0, 2, 1);
  std::optional<NameReservation> judged(bootstrap);
  judged->release();
  NameReservation follower(bootstrap);
  refusal([&] { NameReservation third(bootstrap); });
  EXPECT_NO_THROW(judged->settle());
  judged.reset();
  EXPECT_THROW(follower.settle(), Error);
}

}  // namespace
}  // namespace transload
