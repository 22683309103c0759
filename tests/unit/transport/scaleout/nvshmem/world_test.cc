// Calls that may not return, and blocks that are given back or lost.
#include "transport/scaleout/nvshmem/world.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <stdexcept>

#include "base/time_units.h"

namespace transload {
namespace {

TEST(LibraryCall, SaysWhetherItHasReturned) {
  std::promise<void> go;
  const LibraryCall call([wait = go.get_future().share()] { wait.get(); });
  EXPECT_FALSE(call.returned(kMillisecondNs));
  go.set_value();
  EXPECT_TRUE(call.returned(60'000 * kMillisecondNs));
  EXPECT_TRUE(call.returned(0));
}

TEST(LibraryCall, ThrowsWhatItThrew) {
  const LibraryCall call([] { throw std::runtime_error("in there"); });
  EXPECT_THROW((void)call.returned(60'000 * kMillisecondNs), std::runtime_error);
  EXPECT_THROW((void)call.returned(0), std::runtime_error);
}

TEST(HeapBlock, GoesBackUnlessItMayStillBePutTo) {
  NvshmemWorld world;
  char bytes[64];
  const size_t block = world.add(bytes, sizeof(bytes));
  const auto taken = [&] { return world.blocks()[block].taken; };
  {
    const HeapBlock mine(world, block);
    EXPECT_EQ(mine.base(), bytes);
    EXPECT_TRUE(taken());
  }
  EXPECT_FALSE(taken());  // nobody was told of it
  {
    HeapBlock mine(world, block);
    mine.begin();
    mine.all_taken();
  }
  EXPECT_FALSE(taken());
  EXPECT_EQ(world.lost(), "");
  {
    HeapBlock mine(world, block);
    mine.begin();
    mine.lose("rank 7 was lost");
  }
  EXPECT_TRUE(taken());
  EXPECT_EQ(world.lost(), "rank 7 was lost");
  world.lose("and more");
  EXPECT_EQ(world.lost(), "rank 7 was lost");  // the first reason is the reason
}

}  // namespace
}  // namespace transload
