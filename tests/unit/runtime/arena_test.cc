// Leases: what fits, what does not, and that no two overlap.
#include "runtime/arena.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "os/free_memory.h"
#include "tests/support/patience.h"
#include "transload/status.h"

namespace transload {
namespace {

struct Slab {
  explicit Slab(size_t size) : bytes(size), memory(new char[size + 128]) {
    base = memory.get() + (128 - reinterpret_cast<uintptr_t>(memory.get()) % 128);
    arena = std::make_shared<Arena>(base, size, nullptr);
  }
  size_t bytes;
  std::unique_ptr<char[]> memory;
  char* base;
  std::shared_ptr<Arena> arena;
};

TEST(Arena, LendsWhatFitsExactly) {
  for (const size_t size : {size_t(1024), size_t(1000), size_t(128), size_t(1)}) {
    Slab slab(size);
    const auto all = slab.arena->take(size);
    ASSERT_NE(all, nullptr) << size;
    EXPECT_EQ(all->data, slab.base);
    EXPECT_EQ(slab.arena->longest_gap(), 0u);
    EXPECT_EQ(slab.arena->take(1), nullptr);
    EXPECT_EQ(slab.arena->take(0), nullptr);
  }
  Slab slab(1024);
  EXPECT_EQ(slab.arena->take(1025), nullptr);
  EXPECT_NE(slab.arena->take(1024), nullptr);
  const auto most = slab.arena->take(768);
  EXPECT_EQ(slab.arena->longest_gap(), 256u);
}

// The gap that a lease left takes one of the same size, and no longer one.
TEST(Arena, FillsAGapExactly) {
  Slab slab(1024);
  const auto first = slab.arena->take(256);
  auto second = slab.arena->take(256);
  const auto third = slab.arena->take(512);
  ASSERT_NE(third, nullptr);
  char* const gap = second->data;
  second = nullptr;
  EXPECT_EQ(slab.arena->longest_gap(), 256u);
  EXPECT_EQ(slab.arena->take(257), nullptr);
  const auto again = slab.arena->take(256);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->data, gap);
  EXPECT_EQ(slab.arena->used(), 1024u);
}

TEST(Arena, SizesDoNotWrap) {
  Slab slab(1024);
  for (const size_t huge : {SIZE_MAX, SIZE_MAX - 126, SIZE_MAX - 127, SIZE_MAX / 2 + 1}) {
    EXPECT_EQ(slab.arena->take(huge), nullptr) << huge;
    EXPECT_THROW(private_block(huge), Error) << huge;
  }
  const auto one = slab.arena->take(512), other = slab.arena->take(512);
  ASSERT_TRUE(one && other);
  EXPECT_EQ(other->data - one->data, 512);
}

// More than there is: the system would give it, and end the process at its pages.
TEST(Arena, PrivateMemoryIsThere) {
  const size_t twice = 2 * available_bytes();
  try {
    private_block(twice);
    ADD_FAILURE() << "there were " << twice << " bytes";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kOutOfMemory) << error.what();
    EXPECT_NE(std::string(error.what()).find("are available on this machine"), std::string::npos) << error.what();
  }
  EXPECT_NE(private_block(32 << 20)->data, nullptr);
}

TEST(Arena, HoldsWhatLiesInOneLease) {
  Slab slab(1024);
  const auto first = slab.arena->take(256);
  auto second = slab.arena->take(256);
  const Arena& arena = *slab.arena;
  EXPECT_TRUE(arena.holds(slab.base, 256));
  EXPECT_TRUE(arena.holds(slab.base + 255, 1));
  EXPECT_FALSE(arena.holds(slab.base + 1, 256));
  EXPECT_FALSE(arena.holds(slab.base, 512)) << "two leases";
  EXPECT_FALSE(arena.holds(slab.base + 1, SIZE_MAX));
  EXPECT_TRUE(arena.holds(slab.base + 256, 256));
  EXPECT_FALSE(arena.holds(slab.base - 1, 1));
  for (const size_t behind : {512, 513, 1000}) EXPECT_FALSE(arena.holds(slab.base + behind, 1)) << "lent to nobody";
  EXPECT_FALSE(arena.holds(nullptr, 0));
  second = nullptr;
  EXPECT_FALSE(arena.holds(slab.base + 256, 256));
}

TEST(Arena, LendsNothingOnceClosed) {
  Slab slab(1024);
  auto held = slab.arena->take(128);
  slab.arena->close();
  EXPECT_EQ(slab.arena->take(1), nullptr);
  held = nullptr;
  EXPECT_EQ(slab.arena->used(), 0u);
  EXPECT_EQ(slab.arena->take(1), nullptr);
}

// A copy of the process ends with its leases, and the original has them still.
TEST(Arena, ACopyGivesNothingBack) {
  Slab slab(1024);
  auto lease = slab.arena->take(256);
  const pid_t copy = ::fork();
  ASSERT_GE(copy, 0);
  if (copy == 0) {
    ::alarm(unsigned(kPatience.count()));
    lease = nullptr;
    ::_exit(slab.arena->used() == 256 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(copy, &status, 0), copy);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace transload
