// Groups whose network regions lie in NVSHMEM's heap. Ranks are processes, on CPUs, over the library of
// tests/nvshmem_double: all is real but NVSHMEM and the GPU.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "os/clock.h"
#include "runtime/scale_out_kinds.h"
#include "tests/support/child.h"
#include "tests/support/sanitized.h"
#include "tests/support/team.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload::test {
namespace {

std::string double_path() {
  char own[4096] = {};
  if (readlink("/proc/self/exe", own, sizeof(own) - 1) < 0) return "";
  const std::string program = own;
  return program.substr(0, program.rfind('/')) + "/nvshmem_double/libnvshmem_host.so.3";
}

World world_of(std::vector<uint32_t> node_sizes) {
  World w;
  w.node_sizes = std::move(node_sizes);
  w.tokens = {24};
  w.slab_bytes = 1 << 20;
  w.scale_out = ScaleOutChoice::kNvshmem;
  return w;
}

using Body = std::function<void(uint32_t rank, uint16_t port)>;

// What each rank's process says, "" if all was right there; "gone" if it ended without a word. `prepare` runs before
// anything of the library does.
std::vector<std::string> said_by(const World& w, const std::string& settings, const Body& body,
                                 const std::function<void(uint32_t rank)>& prepare = {}) {
  std::vector<std::unique_ptr<Child>> ranks;
  for (uint32_t r = 0; r < w.ranks(); ++r)
    ranks.push_back(std::make_unique<Child>([&, r](int line) {
      const auto port = uint16_t(std::stoul(hear(line)));
      setenv("TRANSLOAD_NVSHMEM", double_path().c_str(), 1);
      setenv("NVSHMEM_DOUBLE", settings.c_str(), 1);
      for (ScaleOutKind& kind : scale_out_kinds()) kind.on_cpus = true;
      if (prepare) prepare(r);
      std::string text;
      try {
        body(r, port);
        if (testing::Test::HasFailure()) text = "an expectation of it failed";
      } catch (const std::exception& error) {
        text = error.what();
      }
      say(line, "said: " + text);
      return 0;
    }));
  const Rendezvous rendezvous;
  std::vector<std::string> said;
  for (const auto& rank : ranks) say(rank->line(), std::to_string(rendezvous.port()));
  for (const auto& rank : ranks) {
    const std::string text = hear(rank->line());
    said.push_back(text.empty() ? "gone" : text.substr(6));
  }
  return said;
}

void all_right(const World& w, const std::string& settings, const Body& body) {
  const std::vector<std::string> said = said_by(w, settings, body);
  EXPECT_EQ(said, std::vector<std::string>(w.ranks())) << w.describe();
}

void passes(const World& w, Group& group, uint64_t salt) { Member(w, problem_of(w), group).pass({}, salt); }

class Heap : public testing::Test {
  void SetUp() override {
    if (on_gpus()) GTEST_SKIP() << kHostTensors;
  }
};

TEST_F(Heap, CarriesTheRowsOfEveryShape) {
  for (const std::vector<uint32_t>& sizes : std::vector<std::vector<uint32_t>>{{1, 1}, {2, 2}, {1, 3}, {1, 1, 2}})
    for (const char* const settings : {"", "turned"}) {
      const World w = world_of(sizes);
      all_right(w, settings, [&](uint32_t rank, uint16_t port) {
        Group group(options_of(w, rank, port));
        EXPECT_EQ(group.scale_out_name(), kNvshmemName);
        for (uint64_t salt = 1; salt < 4; ++salt) passes(w, group, 10 * salt);
      });
    }
}

// Each time in the block of the last one, whose words are those of the last one until they are made zeros.
TEST_F(Heap, IsGivenToTheNextGroup) {
  const World w = world_of({1, 1});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    for (uint64_t n = 0; n < (kSlow ? 20u : 100u); ++n) {
      Group group(options_of(w, rank, port, "group " + std::to_string(n)));
      passes(w, group, 1 + n);
    }
    EXPECT_EQ(NvshmemWorld::here().blocks().size(), 1u);
  });
}

TEST_F(Heap, HoldsTwoGroupsAtOnceAndSaysWhatAThirdOneNeeds) {
  const World w = world_of({1, 1});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    Group one(options_of(w, rank, port, "one")), two(options_of(w, rank, port, "two"));
    for (uint64_t salt = 1; salt < 4; ++salt) {
      passes(w, one, 100 + salt);
      passes(w, two, 200 + salt);
    }
    EXPECT_EQ(NvshmemWorld::here().blocks().size(), 2u);
    World larger = w;
    larger.channels = 40;
    larger.columns = 1024;
    try {
      Group three(options_of(larger, rank, port, "three"));
      ADD_FAILURE() << "a third one has room";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kOutOfMemory);
      const std::string text = error.what(), size = getenv("NVSHMEM_SYMMETRIC_SIZE");
      EXPECT_NE(text.find("its heap has no room for a network region of"), std::string::npos) << text;
      EXPECT_NE(text.find("NVSHMEM_SYMMETRIC_SIZE is " + size), std::string::npos) << text;
    }
    passes(w, one, 300);  // as they were
    passes(w, two, 400);
  });
}

std::string refusal_of(const World& w, uint32_t rank, uint16_t port, const std::string& name) {
  try {
    Group group(options_of(w, rank, port, name));
    return "made";
  } catch (const Error& error) {
    return error.what();
  }
}

// What is on its way when a rank is lost may land at any time.
TEST_F(Heap, IsNeverUsedAgainAfterALoss) {
  const World w = world_of({1, 1, 1}), left = world_of({1, 1});
  const std::vector<std::string> said = said_by(w, "", [&](uint32_t rank, uint16_t port) {
    auto group = std::make_unique<Group>(options_of(w, rank, port, "all"));
    passes(w, *group, 1);
    (void)group->gather("all have passed");
    if (rank == 2) _exit(0);
    EXPECT_THROW(passes(w, *group, 2), Error);
    group.reset();
    const std::string why = refusal_of(left, rank, port, "left");
    EXPECT_EQ(why,
              "scale_out: nvshmem: it is lost to the process of rank 0 for good: a group that used it was ended by a "
              "fault of rank 2");
    World other = left;
    other.scale_out = ScaleOutChoice::kAuto;
    Group again(options_of(other, rank, port, "another way"));
    EXPECT_NE(again.scale_out_name(), kNvshmemName);
    passes(other, again, 3);
  });
  EXPECT_EQ(said, (std::vector<std::string>{"", "", "gone"}));
}

// A process is in one world for its life.
TEST_F(Heap, IsOfTheRanksThatStartedIt) {
  const World w = world_of({1, 1, 1}), fewer = world_of({1, 1});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    { Group group(options_of(w, rank, port, "all")); }
    if (rank < 2) {
      EXPECT_EQ(refusal_of(fewer, rank, port, "fewer"),
                "scale_out: nvshmem: rank 0 is of a world of 3 processes, for its life, and rails of this group join 2 "
                "of them; must be all");
      World other = fewer;
      other.scale_out = ScaleOutChoice::kAuto;
      Group again(options_of(other, rank, port, "another way"));
      passes(other, again, 2);
    }
    Group group(options_of(w, rank, port, "all again"));
    passes(w, group, 3);
  });
}

TEST_F(Heap, IsOneWorldForEachSetOfRails) {
  const World w = world_of({2, 2});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    Group group(options_of(w, rank, port));
    EXPECT_EQ(NvshmemWorld::here().pes(), 2);
    EXPECT_EQ(NvshmemWorld::here().pe(), int(rank / 2));
    passes(w, group, 1);
  });
}

// NVSHMEM is started in a copy of a process too, and is another one's.
TEST_F(Heap, IsNotOfACopy) {
  if (kNoThreadsInCopies != nullptr) GTEST_SKIP() << kNoThreadsInCopies;
  const World w = world_of({1, 1});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    Group group(options_of(w, rank, port, "original"));
    passes(w, group, 1);
    {
      Child copy([&](int line) {
        say(line, refusal_of(w, rank, port, "copies"));
        return 0;
      });
      EXPECT_EQ(hear(copy.line()).rfind("scale_out: nvshmem: it is already started in this process", 0), 0u);
    }
    passes(w, group, 2);
  });
}

TEST_F(Heap, RefusesSettingsThatDiffer) {
  const World w = world_of({1, 1});
  const auto said = said_by(
      w, "", [&](uint32_t rank, uint16_t port) { Group group(options_of(w, rank, port)); },
      [](uint32_t rank) { setenv("NVSHMEM_QP_DEPTH", rank == 0 ? "2048" : "4096", 1); });
  for (const std::string& text : said)
    EXPECT_EQ(text,
              "scale_out: nvshmem: NVSHMEM_QP_DEPTH 2048, elsewhere NVSHMEM_QP_DEPTH 4096 (ranks 0 and 1); must be "
              "alike");
}

// The others leave when they hear of it, not at the deadline: nothing that they wait for inside of NVSHMEM keeps them.
TEST_F(Heap, NamesARankThatDiesInInit) {
  const World w = world_of({1, 1, 1});
  const auto said = said_by(w, "dies@1", [&](uint32_t rank, uint16_t port) { Group group(options_of(w, rank, port)); });
  EXPECT_EQ(said[1], "gone");
  for (const uint32_t rank : {0, 2}) EXPECT_NE(said[rank].find("rank 1 is lost"), std::string::npos) << said[rank];
}

// Who has not come is named before anybody is inside of NVSHMEM, which would wait for it for ever.
TEST_F(Heap, NamesARankThatIsLate) {
  World w = world_of({1, 1});
  w.deadline_ms = 1000;
  int told[2];
  ASSERT_EQ(::pipe2(told, O_CLOEXEC), 0);
  const auto said = said_by(w, "", [&](uint32_t rank, uint16_t port) {
    char byte = 0;
    if (rank == 1 && ::read(told[0], &byte, 1) != 1) return;
    try {
      Group group(options_of(w, rank, port));
    } catch (const std::exception&) {
      if (rank == 0 && ::write(told[1], &byte, 1) != 1) ADD_FAILURE() << "rank 1 is not told";
      throw;
    }
  });
  for (const int fd : told) ::close(fd);
  EXPECT_NE(said[0].find("rank 1 is absent"), std::string::npos) << said[0];
  EXPECT_EQ(said[0].find("nvshmem"), std::string::npos) << said[0];
}

}  // namespace
}  // namespace transload::test
