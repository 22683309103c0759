// What a process says of its descriptors, with few of them and with none.
#include "os/host.h"

#include <gtest/gtest.h>

#include <cerrno>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control/address.h"
#include "tests/support/child.h"
#include "tests/support/sanitized.h"
#include "transload/status.h"

namespace transload {
namespace {

// In a child with `left` descriptors more than are open, which have no holes below them.
int with_descriptors_left(size_t left, const std::function<bool()>& holds) {
  Child child([&](int) {
    while (::dup(0) < 100)  // what the parent had open may have holes
      if (errno == EMFILE) return 2;
    const rlim_t most = rlim_t(::dup(0)) + 1 + left;
    const rlimit limit{most, most};
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && holds() ? 0 : 1;
  });
  return child.wait();
}

std::string what_is_thrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() == Code::kOutOfMemory ? error.what() : "another error";
  }
  return "";
}

TEST(Descriptors, AreCounted) {
  EXPECT_EQ(with_descriptors_left(5, [] { return descriptors_left(1) == 1 && descriptors_left(16) == 5; }), 0);
  EXPECT_EQ(with_descriptors_left(0, [] { return descriptors_left(16) == 0; }), 0);
  EXPECT_EQ(with_descriptors_left(5, [] { return ::close(50) == 0 && descriptors_left(16) == 6; }), 0);
  EXPECT_EQ(with_descriptors_left(3000, [] { return descriptors_left(2000) == 2000; }), 0);
}

TEST(Descriptors, WithoutThemNothingElseIsBlamed) {
  if (kNoDescriptorsLeft != nullptr) GTEST_SKIP() << kNoDescriptorsLeft;
  const auto told = [](const std::function<void()>& call) {
    return what_is_thrown(call).find("ulimit -n ") != std::string::npos;
  };
  EXPECT_EQ(with_descriptors_left(0, [&] { return told([] { (void)host_identity(); }); }), 0);
  EXPECT_EQ(with_descriptors_left(0, [&] { return told([] { (void)is_own("127.0.0.1"); }); }), 0);
  EXPECT_EQ(with_descriptors_left(0, [&] { return told([] { (void)own_addresses(); }); }), 0);
  EXPECT_EQ(with_descriptors_left(1, [] { return !host_identity().empty() && is_own("127.0.0.1"); }), 0);
}

}  // namespace
}  // namespace transload
