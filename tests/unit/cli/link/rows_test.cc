// Rows over a link: what is wrong is found and named, and a pass ends only when the link has nothing left to do.
#include "cli/link/rows.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "cli/show/usage.h"
#include "tests/support/control_ranks.h"
#include "transport/scaleout/loopback/loopback.h"

namespace transload::cli {
namespace {

constexpr uint64_t kRowBytes = 64, kRows = 64;  // eight of each ring, in two puts: no row waits for a credit
constexpr uint64_t kPuts = kRows / LinkPlace::kJoined;

// Credits never leave, as ScaleOut::credit allows, and a count is out only when the link has been moved on a few times.
class LazyLink final : public LoopbackLink {
 public:
  using LoopbackLink::LoopbackLink;
  void publish(RailWord to, Word count) override {
    LoopbackLink::publish(to, count);
    busy_ = 3;
  }
  void credit(RailWord, Word) override {}
  bool progress() override {
    busy_ -= busy_ > 0;
    return false;
  }
  uint32_t busy_with() const override { return busy_ > 0 ? 0 : kNobody; }

 private:
  int busy_ = 0;
};

// Both ends of a link in this process.
class LinkRows : public ::testing::Test {
 protected:
  const LinkPlace& place() const { return place_; }
  char* region(uint32_t rank) { return reinterpret_cast<char*>(memory_[rank].data()); }
  void run(const std::function<void(LinkEnds&, RowTraffic&, LazyLink&)>& body) {
    Rendezvous rendezvous;
    meet::as_threads(2, [&](uint32_t rank) {
      try {
        LinkEnds ends(meet::place(rank, 2, rendezvous.port()), meet::kDeadlineMs);
        LazyLink link({region(0), region(1)});
        RowTraffic rows(ends, link, region(rank), place_);
        body(ends, rows, link);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  }

 private:
  const LinkPlace place_{kRowBytes};
  std::array<std::vector<WordLine>, 2> memory_{std::vector<WordLine>(place_.bytes() / kWordBytes + 1),
                                               std::vector<WordLine>(place_.bytes() / kWordBytes + 1)};
};

TEST_F(LinkRows, AllComeAndThenTheLinkIsQuiet) {
  run([](LinkEnds&, RowTraffic& rows, LazyLink& link) {
    for (int pass = 0; pass < 3; ++pass) {
      const PassResult passed = rows.pass(Pass::kChecked, kRowBytes, kRows);
      EXPECT_EQ(passed.rows, kRows);
      EXPECT_EQ(passed.wrong, 0u) << passed.first_wrong;
      EXPECT_TRUE(link.quiet());
    }
  });
}

TEST_F(LinkRows, OneThatHasNotComeIsFoundAndNamed) {
  run([](LinkEnds& ends, RowTraffic& rows, LazyLink&) {
    const PassResult passed = rows.pass(Pass::kSpoiled, kRowBytes, kRows);
    EXPECT_EQ(passed.wrong, kPuts);
    EXPECT_NE(passed.first_wrong.find("row 3 of ring "), std::string::npos) << passed.first_wrong;
    const std::string from = ", from rank " + std::to_string(ends.other) + " to rank " + std::to_string(ends.rank);
    EXPECT_NE(passed.first_wrong.find(from), std::string::npos) << passed.first_wrong;
  });
}

// A count of more rows than can have come is no count of the other end: none of them is taken.
TEST_F(LinkRows, ACountThatCannotBeIsRefused) {
  for (const bool put : {true, false})
    run([&](LinkEnds& ends, RowTraffic& rows, LazyLink&) {
      if (ends.rank == 0) {
        *word_at(region(1), put ? place().tail(3) : place().credit(3)) = ~Word(0);
        ends.gather("");  // that of the other's pass
      } else {
        try {
          rows.pass(Pass::kChecked, kRowBytes, kRows);
          ADD_FAILURE() << "nothing was refused";
        } catch (const UsageError& refused) {
          EXPECT_EQ(refused.what(), std::string("link: rank 0 counts 18446744073709551615 rows ") +
                                        (put ? "put, must be at most 16" : "taken, must be at most 0"));
        }
      }
      ends.gather("");
    });
}

// What fails on one rank is refused by all, with its words.
TEST_F(LinkRows, AStepIsMadeByAllOrNone) {
  run([](LinkEnds& ends, RowTraffic&, LazyLink&) {
    ends.all_or_none([] {});
    try {
      ends.all_or_none([&] {
        if (ends.rank == 1) throw Error(Code::kNotSupported, "no fabric here");
      });
      ADD_FAILURE() << "nothing was refused on rank " << ends.rank;
    } catch (const UsageError& refused) {
      EXPECT_STREQ(refused.what(), "no fabric here (rank 1)");
    }
  });
}

}  // namespace
}  // namespace transload::cli
