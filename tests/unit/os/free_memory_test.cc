// Pages that one group was promised and has not touched are promised to no other of the process.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "os/free_memory.h"
#include "transload/status.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

class PromiseTest : public testing::Test {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;

  PromiseTest() {
    std::string pattern = (fs::temp_directory_path() / "transload-test-promise-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directories(root_ / "proc");
    available(100);
  }
  ~PromiseTest() override { fs::remove_all(root_); }
  void available(uint64_t mib) { std::ofstream(root_ / "proc/meminfo") << "MemAvailable: " << mib * 1024 << " kB\n"; }
  Promise promise(uint64_t group, uint64_t host_mib, uint64_t my_mib) {
    return Promise({group, host_mib * kMiB, my_mib * kMiB}, {root_.string()});
  }
  fs::path root_;
};

TEST_F(PromiseTest, IsKeptForItsGroup) {
  const Promise first = promise(1, 60, 60);
  EXPECT_EQ(promised_bytes(1), 0u);
  EXPECT_EQ(promised_bytes(2), 60 * kMiB);
  const Promise fits = promise(2, 40, 40);
  try {
    promise(3, 1, 1);
    FAIL() << "the same pages twice";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kOutOfMemory);
    EXPECT_STREQ(error.what(),
                 "group: 1048576 bytes needed, but only 0 are available on this machine, beside 104857600 that other "
                 "groups of this process were promised");
  }
}

// Ranks of one group in one process ask each for all of them.
TEST_F(PromiseTest, RanksOfAGroupShareTheirs) {
  const Promise a = promise(1, 90, 30), b = promise(1, 90, 30), c = promise(1, 90, 30);
  EXPECT_THROW(promise(2, 11, 11), Error);
  EXPECT_NO_THROW(promise(2, 10, 10));
}

TEST_F(PromiseTest, EndsWithItsGroup) {
  {
    Promise moved;
    moved = promise(1, 60, 60);
  }
  EXPECT_EQ(promised_bytes(0), 0u);
}

// What is touched is no longer available as it is, and is not subtracted once more.
TEST_F(PromiseTest, TouchedPagesAreCountedOnce) {
  Promise first = promise(1, 60, 60);
  char* const at =
      static_cast<char*>(::mmap(nullptr, 60 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(at, MAP_FAILED);
  ::madvise(at, 60 * kMiB, MADV_NOHUGEPAGE);
  first.lies_at(at, 60 * kMiB);
  EXPECT_EQ(promised_bytes(0), 60 * kMiB);
  std::memset(at, 1, 20 * kMiB);
  EXPECT_EQ(promised_bytes(0), 40 * kMiB);
  available(80);
  EXPECT_THROW(promise(2, 41, 41), Error);
  EXPECT_NO_THROW(promise(2, 40, 40));
  ::munmap(at, 60 * kMiB);
}

}  // namespace
}  // namespace transload
