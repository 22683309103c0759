// Ranks that come to each other's memory: what does not fit is refused on all of them, in the same words.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <functional>
#include <optional>
#include <thread>

#include "control/rendezvous.h"
#include "tests/support/group_without_calls.h"
#include "transport/scaleup/neighbours.h"
#include "transport/scaleup/shm/shared_region.h"

namespace transload {
namespace {

constexpr uint32_t kRanks = 3;

GroupOptions node_options(uint32_t rank, uint16_t port) {
  GroupOptions options;
  options.topology.node_sizes = {kRanks};
  options.bootstrap.rank = rank;
  options.bootstrap.ranks = kRanks;
  options.bootstrap.port = port;
  options.tokens_max = 4;
  options.row_bytes_max = 64;
  options.slab_bytes = 4096 * (rank + 1);  // each rank's own choice
  options.deadline_ms = 60'000;
  return options;
}

// A group that ends where its ranks have each other's memory.
struct Rank final : test::GroupWithoutCalls {
  explicit Rank(const GroupOptions& options)
      : GroupWithoutCalls(options), bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void make(const std::function<void(Rank&)>& before) {
    meet();
    if (before) before(*this);
    region =
        std::make_shared<SharedRegion>(state_.network_bytes() + state_.scale_up_bytes() + state_.options.slab_bytes);
    neighbours = share_memory(region, bell.get(), false);
    control->gather("ready");
    control->goodbye();
  }

  Descriptor bell;
  std::shared_ptr<Region> region;
  std::unique_ptr<Neighbours> neighbours;
};

// What each rank says, "" for the well-made; `before` acts on rank 1 once options were compared.
std::vector<std::string> made(const std::function<void(Rank&)>& before) {
  RendezvousServer server{ServerOptions{}};
  std::vector<std::string> said(kRanks);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        Rank one(node_options(rank, server.port()));
        one.make(rank == 1 ? before : nullptr);
        for (uint32_t peer = 0; peer < kRanks; ++peer) EXPECT_EQ(one.neighbours->base(peer) != nullptr, peer != rank);
      } catch (const Error& error) {
        said[rank] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return said;
}

TEST(ShareMemory, SlabsAreEachRanksOwnChoice) { EXPECT_EQ(made(nullptr), std::vector<std::string>(kRanks)); }

TEST(ShareMemory, RegionsOfAnotherLayoutAreRefusedByAll) {
  const auto smaller = [](Rank& rank) { rank.state_.board.net.bytes -= 4096; };
  for (const std::string& text : made(smaller)) {
    if (text.find("rank 0 offers") != std::string::npos) continue;  // to whom everybody else is of another version
    EXPECT_NE(text.find("rank 1 offers "), std::string::npos) << text;
    EXPECT_NE(text.find(" bytes of network region, must be "), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace transload
