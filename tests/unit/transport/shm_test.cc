// Shared memory between ranks: sealed regions, passed descriptors, threads and processes, peers that die.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "os/free_memory.h"
#include "os/host.h"
#include "tests/support/sides.h"

namespace transload {
namespace {

using namespace test;
namespace fs = std::filesystem;

TEST(SharedRegion, IsZeroAndSealed) {
  SharedRegion region(3 * 4096);
  EXPECT_EQ(region.bytes(), size_t(3 * 4096));
  for (size_t i = 0; i < region.bytes(); ++i) ASSERT_EQ(region.base()[i], 0);
  EXPECT_NE(::ftruncate(region.fd(), 4096), 0);
  EXPECT_NE(::ftruncate(region.fd(), 1 << 20), 0);
  EXPECT_NE(::fcntl(region.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(SharedRegion, TakesOnlyWhatWasOffered) {
  SharedRegion region(8192);
  const auto copy = [&] { return Descriptor(::fcntl(region.fd(), F_DUPFD_CLOEXEC, 3)); };
  const auto same = SharedRegion::from_peer(copy(), 8192);
  ASSERT_NE(same, nullptr);
  region.base()[5000] = 42;
  EXPECT_EQ(same->base()[5000], 42);
  EXPECT_EQ(SharedRegion::from_peer(copy(), 4096), nullptr);
  EXPECT_EQ(SharedRegion::from_peer(copy(), 8193), nullptr);
  EXPECT_EQ(SharedRegion::from_peer(Descriptor(), 8192), nullptr);
  Descriptor unsealed(::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 8192), 0);
  EXPECT_EQ(SharedRegion::from_peer(std::move(unsealed), 8192), nullptr);
  EXPECT_EQ(SharedRegion::from_peer(Descriptor(::eventfd(0, EFD_CLOEXEC)), 8192), nullptr);
}

TEST(SharedRegion, RefusesWhatDoesNotFit) {
  const Error error = error_of([] { SharedRegion region(size_t(1) << 50); });
  EXPECT_EQ(error.code(), Code::kOutOfMemory);
  EXPECT_NE(std::string(error.what()).find("1125899906842624 bytes needed"), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find("available"), std::string::npos) << error.what();
  EXPECT_EQ(error_of([] { SharedRegion region(0); }).code(), Code::kInvalidArgument);
}

// A machine made of files.
class Room : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "transload-room-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    put("proc/meminfo", "MemTotal: 100 kB\nMemAvailable:   5000 kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    fs::create_directories((fs::path(root_) / path).parent_path());
    std::ofstream(fs::path(root_) / path) << text;
  }
  uint64_t room() const { return available_bytes({root_}); }
  std::string root_;
};

TEST_F(Room, MemAvailable) { EXPECT_EQ(room(), 5000u * 1024); }

// More is refused even there, before it is rounded up past the end of all addresses.
TEST_F(Room, NothingSaysHowMuch) {
  fs::remove(fs::path(root_) / "proc/meminfo");
  EXPECT_EQ(room(), uint64_t(PTRDIFF_MAX));
}

TEST_F(Room, CgroupTwoAndItsParents) {
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  put("sys/fs/cgroup/a/b/memory.current", "1000\n");
  EXPECT_EQ(room(), 5000u * 1024);
  put("sys/fs/cgroup/a/memory.max", "300000\n");
  put("sys/fs/cgroup/a/memory.current", "100000\n");
  EXPECT_EQ(room(), 200000u);
  put("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 60000\n");
  EXPECT_EQ(room(), 260000u);
  put("sys/fs/cgroup/a/b/memory.max", "500\n");
  EXPECT_EQ(room(), 0u);
}

TEST_F(Room, CgroupOneSeenFromInside) {
  put("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/0123\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "70000\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "30000\n");
  EXPECT_EQ(room(), 40000u);
}

TEST(Neighbours, OfferSurvivesPacking) {
  Side side(3);
  const RegionOffer offer = side.neighbours.offer();
  const RegionOffer same = RegionOffer::unpack(offer.pack());
  EXPECT_EQ(same.host, offer.host);
  EXPECT_TRUE(same.process == offer.process);
  EXPECT_EQ(same.region, offer.region);
  EXPECT_EQ(same.base, uint64_t(reinterpret_cast<uintptr_t>(side.region->base())));
  EXPECT_EQ(same.user, uint32_t(::geteuid()));
  EXPECT_EQ(error_of([&] { RegionOffer::unpack(offer.pack().substr(1)); }).code(), Code::kInvalidArgument);
  EXPECT_EQ(error_of([&] { RegionOffer::unpack(offer.pack() + "x"); }).code(), Code::kInvalidArgument);
}

// Parts that are as long as the whole once their sum has wrapped are longer than it.
TEST(Neighbours, AnOfferHoldsItsParts) {
  RegionOffer offer = Side(3).neighbours.offer();
  const auto refusal_of = [&](RegionParts parts) {
    offer.parts = parts;
    return error_of([&] { RegionOffer::unpack(offer.pack()); });
  };
  EXPECT_STREQ(refusal_of({4096, 4096, 1}).what(),
               "group: a rank offers 8192 bytes of memory, must be at least the 8193 of its parts");
  EXPECT_STREQ(refusal_of({4096, 4096 + 1, ~uint64_t(0)}).what(),
               "group: a rank offers 8192 bytes of memory, must be at least the 2^64 or more of its parts");
  offer.parts = {4096, 4000, 96};
  EXPECT_EQ(RegionOffer::unpack(offer.pack()).parts.slab_bytes, 96u);
}

// A rank of this process is found by what it offers, and must be what it offers.
TEST(Neighbours, NamesTheLiarOfItsProcess) {
  Side a(0), b(1);
  std::vector<RegionOffer> offers{a.neighbours.offer(), b.neighbours.offer()};
  offers[1].bytes *= 2;
  const Error error = error_of([&] { a.neighbours.connect(offers, {0, 1}, 1000); });
  EXPECT_EQ(error.code(), Code::kFault);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_EQ(error.fault().detail, "what it passed is not what it offered");
}

TEST(Neighbours, ManyThreadsShareOneMapping) {
  constexpr uint32_t kRanks = 130;
  std::vector<RegionOffer> offers(kRanks);
  std::barrier all_here(kRanks);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      auto side = std::make_unique<Side>(rank);
      offers[rank] = side->neighbours.offer();
      all_here.arrive_and_wait();
      side->neighbours.connect(offers, all_of(kRanks), 5000);
      all_here.arrive_and_wait();
      if (rank % 2 == 1) side.reset();  // its region stays while others look at it
      all_here.arrive_and_wait();
      if (rank % 2 == 1) return;
      for (uint32_t peer = 0; peer < kRanks; ++peer) {
        ASSERT_EQ(uint64_t(reinterpret_cast<uintptr_t>(side->neighbours.base(peer))), offers[peer].base);
        EXPECT_EQ(side->neighbours.base(peer)[8191], char(peer + 1));
        EXPECT_EQ(::eventfd_write(side->neighbours.bell_fd(peer), 1), 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// 16 processes, each maps all: reads every region, writes a byte of its own into each, rings each bell.
TEST(Neighbours, ManyProcesses) {
  constexpr uint32_t kRanks = 16;
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    children.push_back(std::make_unique<Child>([rank](int line) {
      Side side(rank, 4096 * (rank + 1));
      side.neighbours.connect(trade_offers(line, side.neighbours, kRanks), all_of(kRanks), 20'000);
      for (uint32_t peer = 0; peer < kRanks; ++peer) {
        if (side.neighbours.bytes(peer) != 4096 * (peer + 1)) return 1;
        if (side.neighbours.base(peer)[4095] != char(peer + 1)) return 2;
        side.neighbours.base(peer)[rank] = char(100 + rank);
        if (::eventfd_write(side.neighbours.bell_fd(peer), 1) != 0) return 3;
      }
      say(line, "done");
      if (hear(line) != "go") return 4;
      for (uint32_t peer = 0; peer < kRanks; ++peer)
        if (side.region->base()[peer] != char(100 + peer)) return 5;
      eventfd_t rings = 0;
      return ::eventfd_read(side.bell.get(), &rings) == 0 && rings == kRanks ? 0 : 6;
    }));
  }
  spread_offers(children);
  for (const auto& child : children) EXPECT_EQ(hear(child->line()), "done");
  for (const auto& child : children) say(child->line(), "go");
  for (const auto& child : children) EXPECT_EQ(child->wait(), 0);
}

// Two processes with several threads each: plain pointers inside, one mapping of each foreign region a process.
TEST(Neighbours, ProcessesOfThreads) {
  constexpr uint32_t kProcesses = 2, kThreads = 5, kRanks = kProcesses * kThreads;
  std::vector<std::unique_ptr<Child>> children;
  for (uint32_t process = 0; process < kProcesses; ++process) {
    children.push_back(std::make_unique<Child>([process](int line) {
      std::vector<std::unique_ptr<Side>> sides;
      for (uint32_t i = 0; i < kThreads; ++i) sides.push_back(std::make_unique<Side>(process * kThreads + i));
      for (const auto& side : sides) say(line, side->neighbours.offer().pack());
      std::vector<RegionOffer> offers;
      for (uint32_t rank = 0; rank < kRanks; ++rank) offers.push_back(RegionOffer::unpack(hear(line)));
      std::vector<std::thread> threads;
      for (const auto& side : sides)
        threads.emplace_back([&] { side->neighbours.connect(offers, all_of(kRanks), 20'000); });
      for (std::thread& thread : threads) thread.join();
      int wrong = 0;
      for (const auto& side : sides) {
        for (uint32_t peer = 0; peer < kRanks; ++peer) {
          wrong += side->neighbours.base(peer)[77] != char(peer + 1);
          wrong += side->neighbours.base(peer) != sides[0]->neighbours.base(peer);
        }
      }
      say(line, "done");
      return wrong == 0 && hear(line) == "go" ? 0 : 1;
    }));
  }
  std::vector<std::string> offers;
  for (const auto& child : children)
    for (uint32_t i = 0; i < kThreads; ++i) offers.push_back(hear(child->line()));
  for (const auto& child : children)
    for (const std::string& offer : offers) say(child->line(), offer);
  for (const auto& child : children) EXPECT_EQ(hear(child->line()), "done");
  for (const auto& child : children) say(child->line(), "go");
  for (const auto& child : children) EXPECT_EQ(child->wait(), 0);
}

// Node lists: only who is wanted is mapped.
TEST(Neighbours, OnlyTheWanted) {
  Side a(0), b(1), c(2);
  const std::vector<RegionOffer> offers{a.neighbours.offer(), b.neighbours.offer(), c.neighbours.offer()};
  a.neighbours.connect(offers, {0, 2}, 1000);
  EXPECT_EQ(a.neighbours.base(0), a.region->base());
  EXPECT_EQ(a.neighbours.base(1), nullptr);
  EXPECT_EQ(a.neighbours.bell_fd(1), -1);
  EXPECT_EQ(a.neighbours.bytes(1), 0u);
  EXPECT_EQ(a.neighbours.base(2), c.region->base());
  EXPECT_EQ(a.neighbours.base(9), nullptr);
}

// The mapping of a peer stays valid after the peer was killed, and nothing of it is left in the system's names.
TEST(Neighbours, KilledPeer) {
  Child child([](int line) {
    Side side(1);
    side.neighbours.connect(trade_offers(line, side.neighbours, 2), {0, 1}, 20'000);
    say(line, "done");
    ::pause();
    return 0;
  });
  Side side(0);
  const RegionOffer theirs = RegionOffer::unpack(hear(child.line()));
  say(child.line(), side.neighbours.offer().pack());
  say(child.line(), theirs.pack());
  side.neighbours.connect({side.neighbours.offer(), theirs}, {0, 1}, 20'000);
  ASSERT_EQ(hear(child.line()), "done");
  ::kill(child.pid(), SIGKILL);
  EXPECT_EQ(child.wait(), -SIGKILL);
  EXPECT_EQ(side.neighbours.base(1)[8191], 2);
  std::memset(side.neighbours.base(1), 9, 8192);
  EXPECT_EQ(side.neighbours.base(1)[0], 9);
  EXPECT_EQ(::eventfd_write(side.neighbours.bell_fd(1), 1), 0);
  std::ifstream sockets("/proc/net/unix");
  const std::string names((std::istreambuf_iterator<char>(sockets)), {});
  char name[64];
  ::snprintf(name, sizeof name, "transload-%016llx", (unsigned long long)(theirs.region));
  EXPECT_EQ(names.find(name), std::string::npos);
}

TEST(Neighbours, NamesTheDead) {
  for (uint32_t me : {0u, 1u}) {  // whether I call or am called
    Child child([me](int line) {
      Side side(1 - me);
      say(line, side.neighbours.offer().pack());
      ::pause();
      return 0;
    });
    Side side(me);
    std::vector<RegionOffer> offers(2);
    offers[me] = side.neighbours.offer();
    offers[1 - me] = RegionOffer::unpack(hear(child.line()));
    ::kill(child.pid(), SIGKILL);
    child.wait();
    const Error error = error_of([&] { side.neighbours.connect(offers, {0, 1}, 300); });
    EXPECT_EQ(error.code(), Code::kFault);
    EXPECT_EQ(error.fault().culprit_rank, 1 - me);
    EXPECT_EQ(error.fault().kind, me == 0 ? FaultKind::kLost : FaultKind::kAbsent);
  }
}

TEST(Neighbours, NamesTheStopped) {
  Child child([](int line) {
    Side side(1);
    say(line, side.neighbours.offer().pack());
    ::pause();
    return 0;
  });
  Side side(0);
  const std::vector<RegionOffer> offers{side.neighbours.offer(), RegionOffer::unpack(hear(child.line()))};
  const Error error = error_of([&] { side.neighbours.connect(offers, {0, 1}, 300); });
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_EQ(error.fault().kind, FaultKind::kAbsent);
}

TEST(Host, NamespacesAreNotHosts) {
  EXPECT_EQ(how_apart("boot/1", "boot/1"), "");
  EXPECT_EQ(how_apart("boot/1", "boot/2"), "in different network namespaces of one host");
  EXPECT_EQ(how_apart("boot/1", "other/1"), "on different hosts");
}

// Whoever rings it would wait for its reader.
TEST(Neighbours, NamesWhoPassesABellThatBlocks) {
  Child child([](int line) {
    Side side(1);
    const std::vector<RegionOffer> offers = trade_offers(line, side.neighbours, 2);
    ::fcntl(side.bell.get(), F_SETFL, 0);
    error_of([&] { side.neighbours.connect(offers, {0, 1}, 20'000); });
    return 0;
  });
  Side side(0);
  const RegionOffer theirs = RegionOffer::unpack(hear(child.line()));
  say(child.line(), side.neighbours.offer().pack());
  say(child.line(), theirs.pack());
  const Error error = error_of([&] { side.neighbours.connect({side.neighbours.offer(), theirs}, {0, 1}, 5000); });
  EXPECT_EQ(error.fault().culprit_rank, 1u);
  EXPECT_EQ(error.fault().kind, FaultKind::kMismatch);
}

TEST(Host, AForkIsAnotherProcessOnTheSameHost) {
  const ProcessIdentity mine = process_identity();
  EXPECT_TRUE(mine == process_identity());
  Child child([&](int line) {
    say(line, process_identity() == mine ? "same" : "other");
    say(line, host_identity());
    return 0;
  });
  EXPECT_EQ(hear(child.line()), "other");
  EXPECT_EQ(hear(child.line()), host_identity());
}

}  // namespace
}  // namespace transload
