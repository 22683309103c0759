// A team in which a call ends in a fault. Keeps what each rank was told, and checks that later calls tell the same.
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <mutex>
#include <vector>

#include "base/word.h"
#include "tests/support/patience.h"
#include "tests/support/team.h"

namespace transload::test {

// The deadline of calls to which a rank does not come, or comes late, or in which a NIC fails. The others have met
// before such a call, so for them it is long. All other waits have the group's deadline, which is far longer.
constexpr uint32_t kShortMs = 2000;

inline Pass short_pass() {
  Pass pass;
  pass.deadline_ms = kShortMs;
  return pass;
}

// At its end a rank arrives at `all`, and waits for the other ranks there unless it leaves.
class Departure {
 public:
  Departure(std::latch& all, bool leaves) : all_(all), leaves_(leaves) {}
  ~Departure() {
    all_.count_down();
    EXPECT_TRUE(leaves_ || eventually([this] { return all_.try_wait(); }));
  }
  Departure(const Departure&) = delete;

 private:
  std::latch& all_;
  const bool leaves_;
};

struct ToldFaults {
  std::mutex mutex;
  std::vector<Fault> faults;
  void add(const Fault& fault) {
    const std::lock_guard lock(mutex);
    faults.push_back(fault);
  }
};

// Runs the world. `body` may throw a fault, which is kept. No rank but the leaver leaves before all are done.
inline void run_faulty(const World& w, ToldFaults& seen, const std::function<void(Group&, uint32_t)>& body,
                       uint32_t leaver = kNobody) {
  std::latch all(w.ranks());
  run_team(w, [&](Group& group, uint32_t rank) {
    const Departure departure(all, rank == leaver);
    try {
      body(group, rank);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), Code::kFault) << error.what();
      EXPECT_EQ(error.fault().rank, rank);
      seen.add(error.fault());
      // Every later call gives the same fault at once.
      try {
        group.combine({});
        ADD_FAILURE() << "a call on a faulted group returned";
      } catch (const Error& again) {
        EXPECT_EQ(again.fault().culprit_rank, error.fault().culprit_rank);
        EXPECT_EQ(again.code(), Code::kFault);
      }
    }
  });
}

}  // namespace transload::test
