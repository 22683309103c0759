// What a group says that it takes: Group::memory().
#include <gtest/gtest.h>

#include "tests/support/team.h"

namespace transload::test {
namespace {

World two_ranks(std::vector<uint32_t> node_sizes, ScaleOutChoice scale_out) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = {4};
  w.columns = 2048;
  w.scale_out = scale_out;
  return w;
}

std::vector<MemoryReport> reports_of(const World& w) {
  std::vector<MemoryReport> reports(w.ranks());
  run_team(w, [&](Group& group, uint32_t rank) { reports[rank] = group.memory(); });
  return reports;
}

TEST(MemoryReport, PinsMemoryOfTheHostForGpusAlone) {
  const World near = two_ranks({2}, ScaleOutChoice::kLoopback), far = two_ranks({1, 1}, ScaleOutChoice::kLibfabric);
  const std::vector<MemoryReport> by_memory = reports_of(near), by_network = reports_of(far);
  // Each of the rings that a network needs: to and from two nodes, a row in each slot at least.
  const uint64_t network_rings = uint64_t(far.channels) * far.slots * 4 * far.columns * 2;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    if (on_gpus()) {
      EXPECT_GT(by_memory[rank].host_bytes, 0u);
      EXPECT_GE(by_network[rank].host_bytes, by_memory[rank].host_bytes + network_rings);
    } else {
      EXPECT_EQ(by_memory[rank].host_bytes, 0u);
      EXPECT_EQ(by_network[rank].host_bytes, 0u);
    }
    EXPECT_GE(by_network[rank].ring_bytes, network_rings);
  }
}

TEST(MemoryReport, CountsWhatIsLeased) {
  const World w = two_ranks({2}, ScaleOutChoice::kLoopback);
  run_team(w, [&](Group& group, uint32_t) {
    EXPECT_EQ(group.memory().slab_bytes, w.slab_bytes);
    EXPECT_EQ(group.memory().leased_bytes, 0u);
    {
      const Lease lease = group.lease(1000);
      EXPECT_GE(group.memory().leased_bytes, 1000u);
    }
    EXPECT_EQ(group.memory().leased_bytes, 0u);
  });
}

}  // namespace
}  // namespace transload::test
