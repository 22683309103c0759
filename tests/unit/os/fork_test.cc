// What a copy of this process has, and a copy of the copy.
#include "os/fork.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/support/patience.h"

namespace transload {
namespace {

// Whether a copy of this process finds it so.
bool in_a_copy(const std::function<bool()>& so) {
  const pid_t copy = ::fork();
  if (copy == 0) {
    ::alarm(unsigned(kPatience.count()));  // it may find a lock that nobody gives back
    ::_exit(so() ? 0 : 1);
  }
  int status = -1;
  return copy > 0 && ::waitpid(copy, &status, 0) == copy && status == 0;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
int open_one() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(Fork, ACopyClosesWhatItIsAskedTo) {
  const int given = open_one(), kept = open_one();
  for (const int fd : {given, kept}) close_in_copies(fd);
  EXPECT_TRUE(keep_in_copies(kept));
  EXPECT_FALSE(keep_in_copies(kept)) << "nobody asked for it any more";
  EXPECT_TRUE(in_a_copy([&] { return !is_open(given) && is_open(kept); }));
  EXPECT_TRUE(is_open(given));
  EXPECT_TRUE(keep_in_copies(given));
  for (const int fd : {given, kept}) ::close(fd);
}

// What it opens has numbers that were the original's, and is its own.
TEST(Fork, ACopyKeepsWhatItOpens) {
  const int fd = open_one();
  close_in_copies(fd);
  EXPECT_TRUE(in_a_copy([&] {
    if (open_one() != fd || keep_in_copies(fd)) return false;
    if (!in_a_copy([&] { return is_open(fd); })) return false;
    close_in_copies(fd);
    return in_a_copy([&] { return !is_open(fd); }) && is_open(fd);
  }));
  EXPECT_TRUE(keep_in_copies(fd));
  ::close(fd);
}

TEST(Fork, ACopyIsNotTheOriginal) {
  const Origin original;
  EXPECT_TRUE(original.here());
  EXPECT_TRUE(in_a_copy([&] {
    const Origin copy;
    return !original.here() && copy.here() && in_a_copy([&] { return !original.here() && !copy.here(); });
  }));
  EXPECT_TRUE(original.here());
  struct Number {
    int value = 0;
  };
  one_per_process<Number>().value = 5;
  EXPECT_TRUE(in_a_copy([] { return one_per_process<Number>().value == 0; }));
  EXPECT_EQ(one_per_process<Number>().value, 5);
}

}  // namespace
}  // namespace transload
