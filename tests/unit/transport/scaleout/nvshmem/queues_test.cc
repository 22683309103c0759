// What a group needs of NVSHMEM's queues and keys: states as the library makes them, in memory of the host, whole and
// with one thing wrong.
#include "transport/scaleout/nvshmem/queues.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "transload/status.h"

namespace transload {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr int kPes = 3;
constexpr uint32_t kQueues = 5 * kPes;

void read(void* to, const void* from, uint64_t bytes) { std::memcpy(to, from, bytes); }

// A heap of chunks, each with keys of its own, and queues to three PEs. Nothing lies in the heap: it is an address.
struct Library {
  explicit Library(std::vector<uint64_t> chunks_mib, uint64_t granularity_log2 = 21) {
    states->heap = {};
    states->nic = {};
    NvshmemHeapState& heap = states->heap;
    heap.head = nvshmem_head(sizeof(heap));
    heap.pes = kPes;
    heap.heap = reinterpret_cast<char*>(uint64_t(1) << 40);
    heap.heap_bytes = uint64_t(1) << 33;
    heap.bases = bases;
    heap.has_queues = true;
    NvshmemNicState& nic = states->nic;
    nic.head = nvshmem_head(sizeof(nic));
    nic.queues_to_pe = 5;
    nic.granularity_log2 = granularity_log2;
    nic.nics = 1;
    for (uint32_t i = 0; i < kQueues; ++i) {
      NvshmemCompletion& completion = completions[i];
      completion.head = nvshmem_head(sizeof(completion));
      completion.shown = &shown[i];
      NvshmemQueue& queue = queues[i];
      queue.head = nvshmem_head(sizeof(queue));
      queue.kind = NvshmemQueue::kConnected;
      queue.number = 100 + i;
      queue.depth = 1024;
      queue.completion = &completion;
    }
    nic.queues = queues.data();
    lay(chunks_mib);
  }
  Library(const Library&) = delete;

  void lay(const std::vector<uint64_t>& chunks_mib) {
    uint64_t at = 0;
    uint32_t key = 1;
    for (const uint64_t mib : chunks_mib) {
      const uint64_t end = at + mib * kMiB;
      for (; at < end; at += uint64_t(1) << states->nic.granularity_log2) {
        local.push_back({key, reinterpret_cast<uint64_t>(states->heap.heap) + end});
        for (int pe = 0; pe < kPes; ++pe) remote.push_back({100 * key + uint32_t(pe), end});
      }
      ++key;
    }
    share_out(local, states->nic.local, states->nic.far_local, far_local);
    share_out(remote, states->nic.remote, states->nic.far_remote, far_remote);
  }
  static void share_out(const std::vector<NvshmemKey>& all, NvshmemKey* near, NvshmemKey*& far,
                        std::vector<NvshmemKey>& room) {
    const size_t here = std::min<size_t>(all.size(), NvshmemNicState::kNearKeys);
    std::copy(all.begin(), all.begin() + long(here), near);
    room.assign(all.begin() + long(here), all.end());
    far = room.empty() ? nullptr : room.data();
  }

  // In front of the heap too, where no pointer to it leads.
  char* at(uint64_t mib) const {
    return reinterpret_cast<char*>(reinterpret_cast<uint64_t>(states->heap.heap) + mib * kMiB);
  }
  FoundQueues find(const QueueNeeds& needs) const { return find_queues(*states, needs, read); }
  std::string refusal(const QueueNeeds& needs) const {
    try {
      find(needs);
      return "none";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kNotSupported);
      const std::string text = error.what(), who = "scale_out: nvshmem: ";
      EXPECT_EQ(text.rfind(who, 0), 0u) << text;
      return text.substr(who.size());
    }
  }

  std::unique_ptr<NvshmemStates> states = std::make_unique<NvshmemStates>();
  char shown[kQueues] = {};
  char* bases[kPes] = {shown, shown, shown};
  std::vector<NvshmemQueue> queues = std::vector<NvshmemQueue>(kQueues);
  std::vector<NvshmemCompletion> completions = std::vector<NvshmemCompletion>(kQueues);
  std::vector<NvshmemKey> local, remote, far_local, far_remote;
};

// PE 1 asks; rails join it with PEs 0 and 2.
QueueNeeds needs_of(const Library& library, uint64_t at_mib, uint64_t block_mib, uint64_t region_mib) {
  return {.channels = 4,
          .slots = 16,
          .region_bytes = region_mib * kMiB,
          .block = library.at(at_mib),
          .block_bytes = block_mib * kMiB,
          .pes = {0, 2}};
}

TEST(NvshmemQueues, AreFoundWithWhereTheyShowWhatIsComplete) {
  Library library({64});
  library.states->nic.rung_by_host = true;
  const FoundQueues found = library.find(needs_of(library, 4, 20, 10));
  EXPECT_EQ(found.region, library.at(4));
  EXPECT_EQ(found.heap_offset, 4 * kMiB);
  EXPECT_EQ(found.depth, 1024u);
  EXPECT_TRUE(found.rung_by_host);
  ASSERT_EQ(found.completions.size(), 2u);
  for (size_t q = 0; q < 5; ++q) {
    EXPECT_EQ(found.completions[0][q], &library.shown[q]);
    EXPECT_EQ(found.completions[1][q], &library.shown[10 + q]);
  }
}

TEST(NvshmemQueues, NeedANicThatIsOne) {
  Library library({64});
  const QueueNeeds needs = needs_of(library, 0, 20, 10);
  EXPECT_EQ(library.refusal(needs), "none");
  library.states->nic.nics = 2;
  EXPECT_EQ(library.refusal(needs), "it drives 2 NICs, must be 1: with more, a put and its count would part");
  library.states->heap.has_queues = false;
  EXPECT_EQ(library.refusal(needs),
            "it drives no NIC in this process, and rails are not mapped (NVSHMEM_DEBUG=INFO says why)");
  library.states->heap.head += 8;
  EXPECT_EQ(library.refusal(needs), "its state is of form 66320, must be 66312");
}

TEST(NvshmemQueues, NeedStatesOfTheirForm) {
  Library library({64});
  const QueueNeeds needs = needs_of(library, 0, 20, 10);
  library.states->nic.head -= 8;
  EXPECT_EQ(library.refusal(needs), "its state of a NIC is of form 73912, must be 73920");
  library.states->nic.head += 8;
  library.states->heap.by_rail = true;
  EXPECT_EQ(library.refusal(needs), "NVSHMEM_ENABLE_RAIL_OPT is on, must be off: keys are then those of other heaps");
  library.states->heap.by_rail = false;
  library.states->nic.granularity_log2 = 12;
  EXPECT_EQ(library.refusal(needs), "the granularity of its heap is 2 to the power of 12, must be of 21 to 31");
}

TEST(NvshmemQueues, AreOneForEachRing) {
  Library library({64});
  QueueNeeds needs = needs_of(library, 0, 20, 10);
  needs.channels = 5;  // a later group, larger than the first
  EXPECT_EQ(library.refusal(needs),
            "it has 5 queues to each rank, must be at least 6 (channels + 1); NVSHMEM_IBGDA_NUM_RC_PER_PE must be at "
            "least 6 when this process starts NVSHMEM");
}

// Of what the library has to each rank, which the first group of the process has asked for.
TEST(NvshmemQueues, AreThoseOfTheirRankInASmallerGroup) {
  Library library({64});
  QueueNeeds needs = needs_of(library, 0, 20, 10);
  needs.channels = 2;
  const FoundQueues found = library.find(needs);
  ASSERT_EQ(found.completions[1].size(), 3u);
  for (size_t q = 0; q < 3; ++q) EXPECT_EQ(found.completions[1][q], &library.shown[10 + q]);
}

TEST(NvshmemQueues, AreDeepEnoughEachOfThem) {
  Library library({64});
  QueueNeeds needs = needs_of(library, 0, 20, 10);
  needs.slots = 256;
  EXPECT_EQ(library.refusal(needs), "none");
  needs.slots = 257;
  EXPECT_EQ(library.refusal(needs),
            "its queue 100 has 1024 entries, must be at least 1028 (4 x slots); NVSHMEM_QP_DEPTH must be at least 2048 "
            "when this process starts NVSHMEM");
  needs.slots = 16;
  library.queues[14].depth = 1000;  // the last one to PE 2
  EXPECT_EQ(library.refusal(needs), "its queue 114 has 1000 entries, must be a power of two up to 32768");
  library.queues[14].depth = 1024;
  library.queues[5].depth = 1;  // to PE 1, which is this one
  EXPECT_EQ(library.refusal(needs), "none");
}

TEST(NvshmemQueues, AreConnectedOnNicZero) {
  Library library({64});
  const QueueNeeds needs = needs_of(library, 0, 20, 10);
  library.queues[11].kind = 1;
  EXPECT_EQ(library.refusal(needs), "its queue 111 is of kind 1 on NIC 0, must be of kind 3 on NIC 0 with completions");
  library.queues[11].kind = NvshmemQueue::kConnected;
  library.queues[11].nic = 1;
  EXPECT_EQ(library.refusal(needs), "its queue 111 is of kind 3 on NIC 1, must be of kind 3 on NIC 0 with completions");
  library.queues[11].nic = 0;
  library.queues[11].completion = nullptr;
  EXPECT_EQ(library.refusal(needs),
            "its queue 111 is of kind 3 on NIC 0 without completions, must be of kind 3 on NIC 0 with completions");
  library.queues[11] = library.queues[12];
  library.queues[11].head = 1;
  EXPECT_EQ(library.refusal(needs), "its queue is of form 1, must be 65720");
}

TEST(NvshmemQueues, LeadToPesThatAreReached) {
  Library library({64});
  QueueNeeds needs = needs_of(library, 0, 20, 10);
  library.bases[2] = nullptr;
  EXPECT_EQ(library.refusal(needs), "it does not reach the heap of PE 2");
  library.bases[2] = library.shown;
  library.bases[1] = nullptr;
  EXPECT_EQ(library.refusal(needs), "none");
  needs.pes = {0, 3};
  EXPECT_EQ(library.refusal(needs), "a rank is PE 3, must be below 3");
}

TEST(NvshmemQueues, NeedABlockOfTheHeap) {
  Library library({64});
  library.states->heap.heap_bytes = 64 * kMiB;
  EXPECT_EQ(library.refusal(needs_of(library, 44, 20, 10)), "none");
  for (const uint64_t at : {uint64_t(45), ~uint64_t(0)})  // behind it, in front of it
    EXPECT_EQ(library.refusal(needs_of(library, at, 20, 10)),
              "its heap of 67108864 bytes has not the block of 20971520 that it gave");
  EXPECT_EQ(library.refusal(needs_of(library, 0, 65, 10)),
            "its heap of 67108864 bytes has not the block of 68157440 that it gave");
}

// The region lies between two ends of keys, wherever they are in the block.
TEST(NvshmemQueues, HaveAKeyThatReachesAllOfTheRegion) {
  struct Case {
    std::vector<uint64_t> chunks;
    uint64_t block_at, place;
  };
  for (const Case& c : {Case{{64}, 0, 0}, Case{{8, 64}, 0, 8}, Case{{12, 64}, 0, 0}, Case{{6, 12, 40}, 4, 6},
                        Case{{8, 10, 40}, 6, 8}, Case{{8, 10, 40}, 7, 8}, Case{{2, 4, 64}, 0, 6}}) {
    Library library(c.chunks);
    EXPECT_EQ(library.find(needs_of(library, c.block_at, 20, 10)).region, library.at(c.place)) << c.chunks[0];
  }
  Library library({8, 8, 8, 8});
  EXPECT_EQ(library.refusal(needs_of(library, 2, 20, 10)),
            "a key of its heap reaches 8388608 bytes of the block of 20971520 in a row, must reach a network region of "
            "10485760; its granularity is 2097152; NVSHMEM_CUMEM_GRANULARITY must be at least 16777216 when this "
            "process starts NVSHMEM");
}

// With the granularity that is asked for, no chunk is shorter than a region.
TEST(NvshmemQueues, AlwaysFindAPlaceInABlockTwiceAsLong) {
  const uint64_t region = 7, granularity = nvshmem_granularity(region * kMiB) / kMiB;
  ASSERT_EQ(granularity, 8u);
  for (uint64_t first = granularity; first <= 3 * granularity; first += granularity)
    for (uint64_t second = granularity; second <= 2 * granularity; second += granularity) {
      Library library({first, second, 8 * granularity}, 23);
      for (uint64_t at = 0; at < 2 * granularity; ++at) {
        const FoundQueues found = library.find(needs_of(library, at, 2 * region, region));
        const auto place = uint64_t(found.region - library.at(0));
        EXPECT_GE(found.region, library.at(at));
        EXPECT_LE(found.region + region * kMiB, library.at(at + 2 * region));
        for (const uint64_t end : {first * kMiB, (first + second) * kMiB})
          EXPECT_TRUE(end <= place || end >= place + region * kMiB) << first << " " << second << " " << at;
      }
    }
}

// An end is where a key says so, or where another one begins, whatever that says.
constexpr NvshmemKey kOtherEnd{1, 8 * kMiB}, kOtherKey{9, 64 * kMiB};

// The first 8 MiB of the heap lie behind other keys, of what is meant by `keys` and from there on `step` apart.
uint64_t place_behind(Library& library, std::vector<NvshmemKey>& keys, uint64_t first, uint64_t step, NvshmemKey key) {
  for (uint64_t granule = 0; granule < 4; ++granule) keys[first + granule * step] = key;
  library.share_out(library.local, library.states->nic.local, library.states->nic.far_local, library.far_local);
  library.share_out(library.remote, library.states->nic.remote, library.states->nic.far_remote, library.far_remote);
  return library.find(needs_of(library, 0, 20, 10)).heap_offset;
}

// Chunks of those PEs count that queues must lead to.
TEST(NvshmemQueues, AskTheKeysOfAllThatTheyLeadTo) {
  for (const NvshmemKey& other : {kOtherEnd, kOtherKey})
    for (uint32_t pe = 0; pe < kPes; ++pe) {
      Library library({64});
      const uint32_t usual = library.remote[pe].key;
      const NvshmemKey key{other.key == 1 ? usual : other.key, other.end};
      EXPECT_EQ(place_behind(library, library.remote, pe, kPes, key), pe == 1 ? 0 : 8 * kMiB) << pe << " " << key.key;
    }
}

TEST(NvshmemQueues, AskTheKeysOfTheirOwnHeap) {
  for (NvshmemKey key : {kOtherEnd, kOtherKey}) {
    Library library({64});
    key.end += reinterpret_cast<uint64_t>(library.states->heap.heap);
    EXPECT_EQ(place_behind(library, library.local, 0, 1, key), 8 * kMiB) << key.key;
  }
}

// 64 keys of each kind lie in the state, the others in memory of the device.
TEST(NvshmemQueues, ReadKeysBeyondTheNearOnes) {
  Library library({300, 200});
  EXPECT_EQ(library.find(needs_of(library, 296, 20, 10)).region, library.at(300));
  EXPECT_EQ(library.find(needs_of(library, 400, 20, 10)).region, library.at(400));
  library.states->nic.far_remote = nullptr;
  EXPECT_EQ(library.refusal(needs_of(library, 400, 20, 10)), "its heap has keys of a part of it alone");
}

TEST(NvshmemQueues, HaveAKeyForWhereABlockEnds) {
  const Library library({4});
  EXPECT_EQ(library.find(needs_of(library, 0, 3, 3)).region, library.at(0)) << "in the middle of a granule";
}

TEST(NvshmemQueues, AskForAGranularityThatGpusHave) {
  EXPECT_EQ(nvshmem_granularity(1), 2 * kMiB);
  EXPECT_EQ(nvshmem_granularity(2 * kMiB + 1), 4 * kMiB);
}

TEST(NvshmemQueues, RefuseAHeapWithoutKeys) {
  Library library({});
  EXPECT_EQ(library.refusal(needs_of(library, 0, 20, 10)).rfind("a key of its heap reaches 0 bytes", 0), 0u);
}

}  // namespace
}  // namespace transload
