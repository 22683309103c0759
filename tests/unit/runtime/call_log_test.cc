// What is known of a thread that calls several ranks of a group.
#include "runtime/call/call_log.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <thread>

#include "base/word.h"

namespace transload {
namespace {

void elsewhere(const std::function<void()>& body) { std::thread(body).join(); }

TEST(CallLog, NothingIsKnownBeforeBothWereCalled) {
  CallLog a(1, 0), b(1, 1);
  EXPECT_EQ(a.owed(), kNobody);
  a.called();
  EXPECT_EQ(a.owed(), kNobody);
  EXPECT_EQ(b.owed(), kNobody);
  EXPECT_TRUE(a.behind(1));
  EXPECT_FALSE(b.behind(0));
  EXPECT_FALSE(a.behind(2)) << "no rank of this process";
}

// One thread calls both in turn: each owes the other its next call, until it has made it.
TEST(CallLog, OneThreadOwesTheRankThatItHasNotCalled) {
  CallLog a(1, 0), b(1, 1), c(1, 2);
  a.called();
  b.called();
  EXPECT_EQ(a.owed(), 1u);
  EXPECT_EQ(b.owed(), 0u);
  b.called();
  EXPECT_EQ(a.owed(), kNobody) << "rank 1 is in the call that would wait for it";
  EXPECT_EQ(b.owed(), 0u) << "two calls ahead";
  c.called();
  EXPECT_EQ(a.owed(), 2u);
  c.called();
  EXPECT_EQ(a.owed(), kNobody);
}

TEST(CallLog, ThreadsOfTheirOwnOweNothing) {
  CallLog a(1, 0), b(1, 1);
  for (int call = 0; call < 3; ++call) {
    a.called();
    elsewhere([&] {
      EXPECT_EQ(b.owed(), kNobody);
      b.called();
    });
    EXPECT_EQ(a.owed(), kNobody);
  }
  elsewhere([&] { EXPECT_EQ(a.owed(), kNobody) << "in a thread that has called nobody"; });
}

// Threads that take ranks in turns, one each at a time.
TEST(CallLog, RanksMayChangeThreads) {
  CallLog a(1, 0), b(1, 1);
  a.called();
  elsewhere([&] { b.called(); });
  b.called();
  EXPECT_EQ(b.owed(), kNobody) << "rank 0 has a call to come, but this thread made only the one before";
  elsewhere([&] { a.called(); });
  EXPECT_EQ(b.owed(), kNobody);
}

TEST(CallLog, OtherGroupsAndRanksThatLeft) {
  CallLog a(1, 0), other(2, 1);
  std::optional<CallLog> b(std::in_place, 1, 1);
  a.called();
  other.called();
  EXPECT_EQ(a.owed(), kNobody);
  b->called();
  EXPECT_EQ(a.owed(), 1u);
  CallLog moved;
  moved = std::move(*b);
  EXPECT_EQ(a.owed(), 1u);
  moved = CallLog();
  EXPECT_EQ(a.owed(), kNobody);
  EXPECT_FALSE(a.behind(1));
}

}  // namespace
}  // namespace transload
