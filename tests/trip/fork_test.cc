// Copies of a process that has groups (fork), as data loaders are: whatever they do, the group is the original's.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/patience.h"
#include "tests/support/sanitized.h"
#include "tests/support/team.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

namespace transload::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

// What a copy returns; 98: it hangs or dies.
int in_a_copy(const std::function<int()>& body) {
  const pid_t copy = ::fork();
  if (copy == 0) {
    ::alarm(unsigned(kPatience.count()));
    ::_exit(body());
  }
  int status = -1;
  ::waitpid(copy, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

// 0: refused by name.
int refused(const std::function<void()>& call, const std::string& name) {
  try {
    call();
    return 1;
  } catch (const Error& error) {
    const std::string text = error.what();
    if (error.code() != Code::kInvalidArgument) return 2;
    return text.rfind(name + ": called in a fork of the process that made the group", 0) == 0 ? 0 : 3;
  }
}

World copied_world(std::vector<uint32_t> node_sizes) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = {40};
  return w;
}

// Both ranks make passes before and after; in between rank 0 is copied, and the copy does `body` with the group.
void pass_around_a_copy(const World& w, const std::function<int(std::unique_ptr<Group>&)>& body) {
  if (on_gpus()) GTEST_SKIP() << "ranks are on GPUs, and CUDA is not to be copied";
  const reference::Problem problem = problem_of(w);
  Rendezvous rendezvous;
  std::barrier step(w.ranks());
  std::vector<std::thread> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.emplace_back([&, r] {
      auto group = std::make_unique<Group>(options_of(w, r, rendezvous.port()));
      Member(w, problem, *group).pass({}, 1);
      step.arrive_and_wait();
      if (r == 0) {
        EXPECT_EQ(in_a_copy([&] { return body(group); }), 0);
      }
      step.arrive_and_wait();
      Member(w, problem, *group).pass({}, 2);
      EXPECT_EQ(group->gather("still here").size(), w.ranks());  // nobody has said goodbye for it
    });
  for (std::thread& t : ranks) t.join();
}

TEST(Fork, ACopysCallsAreRefused) {
  pass_around_a_copy(copied_world({2}), [](std::unique_ptr<Group>& group) {
    return refused([&] { group->dispatch({}); }, "dispatch") + refused([&] { group->combine({}); }, "combine") +
           refused([&] { group->gather(""); }, "gather") + refused([&] { group->wait(); }, "wait") +
           refused([&] { group->report({}); }, "report") + refused([&] { group->lease(64); }, "lease") +
           refused([&] { (void)group->rank(); }, "rank") + refused([&] { (void)group->memory(); }, "memory");
  });
}

TEST(Fork, ACopyFreesTheGroup) {
  for (const std::vector<uint32_t>& nodes : {std::vector<uint32_t>{2}, {1, 1}})
    pass_around_a_copy(copied_world(nodes), [](std::unique_ptr<Group>& group) {
      group.reset();
      return 0;
    });
}

TEST(Fork, ACopyAbandonsTheGroup) {
  for (const std::vector<uint32_t>& nodes : {std::vector<uint32_t>{2}, {1, 1}})
    pass_around_a_copy(copied_world(nodes), [](std::unique_ptr<Group>& group) {
      group->abandon();
      group.reset();
      return 0;
    });
}

TEST(Fork, ACopyFreesALease) {
  if (on_gpus()) GTEST_SKIP() << "ranks are on GPUs, and CUDA is not to be copied";
  run_team(copied_world({2}), [](Group& group, uint32_t) {
    Lease lease = group.lease(4096);
    EXPECT_EQ(in_a_copy([&] {
                lease.release();
                return 0;
              }),
              0);
    static_cast<char*>(lease.data())[0] = 1;
  });
}

// Pages that a copy mapped would live as long as it does, and it could store into them.
TEST(Fork, ACopyDoesNotMapTheGroupsMemory) {
  if (on_gpus()) GTEST_SKIP() << "ranks are on GPUs, and CUDA is not to be copied";
  run_team(copied_world({2}), [](Group& group, uint32_t) {
    const Lease lease = group.lease(2 << 12);
    char* const page = static_cast<char*>(lease.data()) + (-reinterpret_cast<uintptr_t>(lease.data()) & 4095);
    const auto mapped = [&] { return ::msync(page, 4096, MS_ASYNC) == 0; };
    EXPECT_TRUE(mapped());
    EXPECT_EQ(in_a_copy([&] { return int(mapped()); }), 0);
  });
}

// The copy ends by exit(): its static objects are freed, a group among them.
TEST(Fork, ACopyExitsWithTheGroupInStaticStorage) {
  if (kAddressSanitizer) GTEST_SKIP() << "a copy lacks the stacks of other threads: what they hold counts as leaked";
  static std::unique_ptr<Group> held;
  for (const std::vector<uint32_t>& nodes : {std::vector<uint32_t>{2}, {1, 1}})
    pass_around_a_copy(copied_world(nodes), [](std::unique_ptr<Group>& group) -> int {
      held = std::move(group);
      ::exit(0);
    });
}

// As a process of its own does: a group that its copy makes is the copy's.
TEST(Fork, ACopyMakesAGroup) {
  if (kNoThreadsInCopies != nullptr) GTEST_SKIP() << kNoThreadsInCopies;
  pass_around_a_copy(copied_world({2}), [](std::unique_ptr<Group>&) {
    const World alone = copied_world({1});
    GroupOptions options = options_of(alone, 0, 0, "of the copy");
    Group group(options);
    Member(alone, problem_of(alone), group).pass({}, 3);
    return testing::Test::HasFailure() ? 1 : 0;
  });
}

}  // namespace
}  // namespace transload::test
