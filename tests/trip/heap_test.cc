// Groups whose network regions lie in NVSHMEM's heap. Ranks are processes, on CPUs, over the library of
// tests/nvshmem_double: all is real but NVSHMEM and the GPU.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "os/clock.h"
#include "runtime/group_impl.h"
#include "runtime/network/heap_place.h"
#include "runtime/network/scale_out_kinds.h"
#include "tests/support/child.h"
#include "tests/support/sanitized.h"
#include "tests/support/team.h"
#include "transport/scaleout/nvshmem/queues.h"
#include "transport/scaleout/nvshmem/world.h"

namespace transload::test {
namespace {

std::string double_path() {
  char own[4096] = {};
  if (readlink("/proc/self/exe", own, sizeof(own) - 1) < 0) return "";
  const std::string program = own;
  return program.substr(0, program.rfind('/')) + "/nvshmem_double/libnvshmem_host.so.3";
}

World heap_world(std::vector<uint32_t> node_sizes) {
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
      const World w = heap_world(sizes);
      all_right(w, settings, [&](uint32_t rank, uint16_t port) {
        Group group(options_of(w, rank, port));
        EXPECT_EQ(group.scale_out_name(), kNvshmemName);
        for (uint64_t salt = 1; salt < 4; ++salt) passes(w, group, 10 * salt);
      });
    }
}

// Each time in the block of the last one, whose words are those of the last one until they are made zeros.
TEST_F(Heap, IsGivenToTheNextGroup) {
  const World w = heap_world({1, 1});
  all_right(w, "", [&](uint32_t rank, uint16_t port) {
    for (uint64_t n = 0; n < (kSlow ? 20u : 100u); ++n) {
      Group group(options_of(w, rank, port, "group " + std::to_string(n)));
      passes(w, group, 1 + n);
    }
    EXPECT_EQ(NvshmemWorld::here().blocks().size(), 1u);
  });
}

TEST_F(Heap, HoldsTwoGroupsAtOnceAndSaysWhatAThirdOneNeeds) {
  const World w = heap_world({1, 1});
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
  const World w = heap_world({1, 1, 1}), left = heap_world({1, 1});
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
  const World w = heap_world({1, 1, 1}), fewer = heap_world({1, 1});
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
  const World w = heap_world({2, 2});
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
  const World w = heap_world({1, 1});
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
  const World w = heap_world({1, 1});
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
  const World w = heap_world({1, 1, 1});
  const auto said = said_by(w, "dies@1", [&](uint32_t rank, uint16_t port) { Group group(options_of(w, rank, port)); });
  EXPECT_EQ(said[1], "gone");
  for (const uint32_t rank : {0, 2}) EXPECT_NE(said[rank].find("rank 1 is lost"), std::string::npos) << said[rank];
}

// Who has not come is named before anybody is inside of NVSHMEM, which would wait for it for ever.
TEST_F(Heap, NamesARankThatIsLate) {
  World w = heap_world({1, 1});
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

// What a rank on a GPU does whose rails are queues of NVSHMEM's NIC, up to its kernels: here with the library's states
// in memory of the host.
class QueuedRank {
 public:
  // Another network carries the group's rows.
  QueuedRank(World w, uint32_t rank, uint16_t port, const std::string& name, const std::string& nic = "") {
    w.scale_out = ScaleOutChoice::kLoopback;
    GroupOptions options = options_of(w, rank, port, name);
    options.nic = nic;
    group_ = make_host_group(options);
    static constexpr HeapHome kHere{.device = -1,
                                    .there = [](int, const std::function<void()>& step) { step(); },
                                    .zero = [](int, char* at, uint64_t bytes) { std::memset(at, 0, bytes); },
                                    .maps_rails = false};
    block_ = place_in_heap(*group_, kHere);
  }

  const HeapBlock& block() const { return *block_; }
  uint64_t region_bytes() const { return group_->state().network_bytes(); }
  std::vector<int> pes() const {
    std::vector<int> pes;
    for (const uint32_t r : group_->state().counterparts()) pes.push_back(block_->pes()[r]);
    return pes;
  }
  FoundQueues find() const {
    std::string why;
    const auto states = std::make_unique<NvshmemStates>();
    EXPECT_EQ(nvshmem_library(why)->show_to(reinterpret_cast<CUmod_st*>(states.get())), 0) << why;
    const GroupOptions& options = group_->state().options;
    return find_queues(*states,
                       {.channels = options.channels,
                        .slots = options.slots,
                        .region_bytes = region_bytes(),
                        .block = block_->base(),
                        .block_bytes = block_->bytes(),
                        .pes = pes()},
                       [](void* to, const void* from, uint64_t bytes) { std::memcpy(to, from, bytes); });
  }
  // All ranks call it.
  std::string offset_refusal(uint64_t mine) const {
    std::vector<uint64_t> offsets;
    for (const std::string& said : group_->control->gather(std::to_string(mine))) offsets.push_back(std::stoull(said));
    return heap_offset_refusal(offsets, rail_worlds(group_->state().map));
  }

 private:
  std::unique_ptr<Group::Impl> group_;
  std::unique_ptr<HeapBlock> block_;
};

TEST_F(Heap, HasAPlaceForARegionThatOneKeyReaches) {
  World w = heap_world({1, 1, 2});
  w.columns = 2048;
  // Its chunks end in the middle of what a region would take, and before and behind it.
  for (const char* const settings : {"nics=1,turned", "nics=1,own=2000000", "nics=1,own=5000"})
    all_right(w, settings, [&](uint32_t rank, uint16_t port) {
      const QueuedRank queued(w, rank, port, "queues");
      const uint64_t region = queued.region_bytes(), granularity = nvshmem_granularity(region);
      ASSERT_GT(region, 100'000u);  // else no end is in its way
      EXPECT_EQ(getenv("NVSHMEM_CUMEM_GRANULARITY"), std::to_string(granularity));
      EXPECT_EQ(queued.block().bytes(), 2 * region);
      EXPECT_TRUE(queued.block().mapped().empty());
      const FoundQueues found = queued.find();
      EXPECT_GE(found.region, queued.block().base());
      EXPECT_LE(found.region + region, queued.block().base() + queued.block().bytes());
      EXPECT_EQ(found.heap_offset / granularity, (found.heap_offset + region - 1) / granularity)
          << "each chunk of this heap is as long as its granularity, " << granularity;
      EXPECT_EQ(found.depth, 1024u);
      EXPECT_EQ(found.completions.size(), queued.pes().size());
      EXPECT_EQ(queued.offset_refusal(found.heap_offset), "");
      EXPECT_NE(queued.offset_refusal(found.heap_offset + rank), "");
    });
}

std::string find_refusal(const QueuedRank& rank) {
  try {
    (void)rank.find();
    return "none";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST_F(Heap, SaysWhatOfItsQueuesDoesNotFit) {
  World w = heap_world({1, 1});
  w.slots = 4;
  const std::string who = "scale_out: nvshmem: ";
  struct Case {
    const char *settings, *why;
  };
  for (const Case& c : {Case{"", "it drives no NIC in this process"}, Case{"nics=1", "none"},
                        Case{"nics=2", "it drives 2 NICs, must be 1"},
                        Case{"nics=1,queues=2", "it has 2 queues to each rank, must be at least"},
                        Case{"nics=1,depth=8", "its queue 0 has 8 entries, must be at least 16 (4 x slots)"},
                        Case{"nics=1,depth=48", "its queue 0 has 48 entries, must be a power of two up to 32768"}})
    all_right(w, c.settings, [&](uint32_t rank, uint16_t port) {
      const QueuedRank queued(w, rank, port, "queues");
      const std::string said = find_refusal(queued);
      const bool of_queues = said.find("its queue") != std::string::npos;  // of PE 0 to rank 1; rank 0 has others
      if (of_queues && rank == 0) return;
      EXPECT_EQ(said.rfind(std::string(c.why) == "none" ? c.why : who + c.why, 0), 0u) << said;
    });
}

TEST_F(Heap, LeavesTheChoiceOfANicToTheLibrary) {
  const World w = heap_world({1, 1});
  const auto said = said_by(w, "nics=1", [&](uint32_t rank, uint16_t port) {
    const QueuedRank queued(w, rank, port, "queues", rank == 1 ? "mlx5_7" : "");
  });
  for (const std::string& text : said)
    EXPECT_EQ(text,
              "nic: mlx5_7, must be empty for nvshmem, which takes the NIC of each process itself "
              "(NVSHMEM_HCA_PE_MAPPING) (rank 1)");
}

// What NVSHMEM is told follows from the first group of a process.
TEST_F(Heap, RefusesQueuesToALargerGroupThanTheFirst) {
  World w = heap_world({1, 1}), wider = w, deeper = w;
  w.channels = 2;
  wider.channels = 3;
  deeper.slots = 300;
  deeper.channels = 1;
  all_right(w, "nics=1", [&](uint32_t rank, uint16_t port) {
    setenv("NVSHMEM_SYMMETRIC_SIZE", "4000000000", 1);
    { const QueuedRank first(w, rank, port, "first"); }
    {
      const QueuedRank second(wider, rank, port, "wider");
      EXPECT_EQ(find_refusal(second),
                "scale_out: nvshmem: it has 3 queues to each rank, must be at least 4 (channels + 1); "
                "NVSHMEM_IBGDA_NUM_RC_PER_PE must be at least 4 when this process starts NVSHMEM");
    }
    const QueuedRank third(deeper, rank, port, "deeper");
    const std::string said = find_refusal(third);
    EXPECT_NE(said.find(" has 1024 entries, must be at least 1200 (4 x slots); NVSHMEM_QP_DEPTH must be at least 2048"),
              std::string::npos)
        << said;
  });
}

TEST_F(Heap, HasAPlaceForALargerGroupThanTheFirst) {
  World w = heap_world({1, 1});
  w.channels = 8;  // so many queues there are
  World larger = w;
  larger.slots = 16;
  larger.columns = 4096;
  all_right(w, "nics=1,own=4096", [&](uint32_t rank, uint16_t port) {
    setenv("NVSHMEM_SYMMETRIC_SIZE", "400000000", 1);
    const QueuedRank first(w, rank, port, "first");
    EXPECT_EQ(find_refusal(first), "none");
    const QueuedRank second(larger, rank, port, "second");
    ASSERT_GT(second.region_bytes(), nvshmem_granularity(first.region_bytes()));
    EXPECT_EQ(find_refusal(second), "none") << "a chunk as long as its block is added to the heap";
  });
}

}  // namespace
}  // namespace transload::test
