// How warps fill the queues of a NIC: order, room, counts that are added once, and errors that name the rank. The NIC
// is a thread; a warp is a thread, or several that are its lanes.
#include "channel/nic_queue.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/child.h"
#include "tests/support/sanitized.h"
#include "tests/support/soft_nic.h"

namespace transload::test {
namespace {

constexpr uint64_t kRegion = 1 << 16, kRows = 4096;  // where rows begin, behind the words

// Whoever has so much patience.
struct Patient final : SoftNicWriter {
  Patient(SoftNic& nic, uint32_t looks) : SoftNicWriter(nic), most(looks) {}
  bool waits(uint32_t looks) override {
    std::this_thread::yield();
    return looks < most;
  }
  const uint32_t most;
};
constexpr uint32_t kForEver = ~0u;

// Three ranks of this process; rank 0 fills the queues.
struct Ranks {
  explicit Ranks(uint32_t depth, pid_t of_rank_1 = getpid())
      : memory(3 * kRegion / sizeof(Word)),
        nic({.rank = 0,
             .regions = {region(0), region(1), region(2)},
             .region_bytes = kRegion,
             .processes = {getpid(), of_rank_1, getpid()},
             .queues = 2,
             .settings = {.depth = depth}}) {}

  char* region(uint32_t rank) { return reinterpret_cast<char*>(memory.data()) + rank * kRegion; }
  Word word(uint32_t rank, uint32_t number) {
    return std::atomic_ref(*reinterpret_cast<Word*>(region(rank) + number * kWordBytes)).load();
  }
  void await(uint32_t rank, uint32_t number, Word least) {
    while (word(rank, number) < least) std::this_thread::yield();
  }

  std::vector<Word> memory;
  SoftNic nic;
};

NicEntry count_of(uint32_t rank, uint32_t word, Word count, uint32_t queue = 0) {
  return {.rank = rank, .queue = queue, .to = word * kWordBytes, .count = count};
}

Sent send_one(SoftNicWriter& writer, const NicEntry& entry) {
  const NicEntry run[] = {entry};
  return NicSender(OneLane{}, writer).send(run);
}

TEST(NicQueue, APutAndItsCountAreOneRun) {
  Ranks ranks(8);
  Patient writer(ranks.nic, kForEver);
  for (Word turn = 1; turn <= 500; ++turn) {
    std::memset(ranks.region(0) + kRows, int(turn), 512);
    const NicEntry run[] = {
        {.rank = 1, .to = kRows, .from = ranks.region(0) + kRows, .bytes = 512}, {}, count_of(1, 3, turn)};
    ASSERT_EQ(NicSender(OneLane{}, writer).send(run).how, Sending::kSent);
    ASSERT_EQ(ranks.nic.queue(1, 0).reserved, 2 * turn);
    ranks.await(1, 3, turn);
    ASSERT_EQ(ranks.region(1)[kRows], char(turn));
    ASSERT_EQ(ranks.region(1)[kRows + 511], char(turn));
  }
  EXPECT_EQ(ranks.word(1, 3), 500u);
}

TEST(NicQueue, WhatIsNewIsAddedOnce) {
  Ranks ranks(8);
  Patient writer(ranks.nic, kForEver);
  for (const Word count : {5, 5, 7, 7, 4000, 4000}) ASSERT_EQ(send_one(writer, count_of(1, 2, count)).rank, kNobody);
  ranks.await(1, 2, 4000);
  EXPECT_EQ(ranks.nic.queue(1, 0).reserved, 3u) << "what was told already is no entry";
  EXPECT_EQ(ranks.word(1, 2), 4000u);
  EXPECT_EQ(ranks.word(2, 2), 0u);
  ASSERT_EQ(send_one(writer, count_of(2, 2, 5)).how, Sending::kSent);
  ranks.await(2, 2, 5);
  EXPECT_EQ(ranks.word(2, 2), 5u) << "each rank's word is told by itself";
}

TEST(NicQueue, RoomThatDoesNotComeNamesTheRank) {
  Ranks ranks(4);
  Patient writer(ranks.nic, 50);
  ranks.nic.hold(true);
  for (Word count = 1; count <= 4; ++count) ASSERT_EQ(send_one(writer, count_of(2, 1, count)).how, Sending::kSent);
  const Sent sent = send_one(writer, count_of(2, 1, 5));
  EXPECT_EQ(sent.how, Sending::kFull);
  EXPECT_EQ(sent.rank, 2u);
  EXPECT_EQ(sent.complete, 0u);
  EXPECT_EQ(sent.least, 1u);
  EXPECT_EQ(send_one(writer, count_of(1, 1, 5)).how, Sending::kSent) << "a full queue is in nobody else's way";
  EXPECT_EQ(send_one(writer, count_of(2, 7, 5, 1)).how, Sending::kSent) << "nor another queue to that rank's";
  ranks.nic.hold(false);
  ranks.await(2, 1, 4);
  ranks.await(2, 7, 5);
  ranks.await(1, 1, 5);
  EXPECT_EQ(send_one(writer, count_of(2, 1, 5)).how, Sending::kSent) << "it has room again";
  ranks.await(2, 1, 5);
  EXPECT_EQ(ranks.word(2, 1), 5u) << "what was refused was not told";
}

TEST(NicQueue, RunsMayBeLongerThanAQueue) {
  for (const uint32_t depth : {1u, 2u, 4u}) {
    Ranks ranks(depth);
    Patient writer(ranks.nic, kForEver);
    NicEntry run[7];
    for (uint32_t i = 0; i < 6; ++i) {
      std::memset(ranks.region(0) + kRows + 64 * i, int(i + 1), 64);
      run[i] = {.rank = 1, .to = kRows + 64 * i, .from = ranks.region(0) + kRows + 64 * i, .bytes = 64};
    }
    run[6] = count_of(1, 0, 6);
    ASSERT_EQ(NicSender(OneLane{}, writer).send(run).how, Sending::kSent);
    ranks.await(1, 0, 6);
    EXPECT_EQ(std::memcmp(ranks.region(0) + kRows, ranks.region(1) + kRows, 6 * 64), 0) << depth;
  }
}

TEST(NicQueue, IndicesGrowBeyondTheCounter) {
  if (kSlow) GTEST_SKIP() << "entries enough for that show a sanitizer nothing that few do not";
  Ranks ranks(8);
  Patient writer(ranks.nic, kForEver);
  for (Word count = 1; count <= 70'000; ++count)
    ASSERT_EQ(send_one(writer, count_of(1, 0, count)).how, Sending::kSent) << count;
  ranks.await(1, 0, 70'000);
  EXPECT_EQ(ranks.word(1, 0), 70'000u);
}

TEST(NicQueue, ABrokenQueueNamesTheRankAtItsOtherEnd) {
  Child child([](int) { return pause(); });
  Ranks ranks(4, child.pid());
  Patient writer(ranks.nic, kForEver);
  ASSERT_EQ(send_one(writer, count_of(1, 0, 1)).how, Sending::kSent);
  ranks.await(1, 0, 1);
  kill(child.pid(), SIGKILL);
  child.wait();
  Sent sent;
  for (Word count = 2; sent.how == Sending::kSent; ++count) sent = send_one(writer, count_of(1, 0, count));
  EXPECT_EQ(sent.how, Sending::kBroken);
  EXPECT_EQ(sent.rank, 1u);
  EXPECT_EQ(writer.completion(&ranks.nic.queue(1, 0)).error, mlx5::kRetriesExceeded);
  EXPECT_EQ(ranks.word(1, 0), 1u) << "what follows an error is not executed";
  ASSERT_EQ(send_one(writer, count_of(2, 0, 9)).how, Sending::kSent);
  ranks.await(2, 0, 9);
}

TEST(NicQueue, WhatReachesOutsideARegionBreaksItsQueue) {
  Ranks ranks(4);
  Patient writer(ranks.nic, kForEver);
  Sent sent;
  for (int i = 0; i < 1000 && sent.how == Sending::kSent; ++i) {
    const NicEntry beyond{.rank = 2, .to = kRegion - 32, .from = ranks.region(0), .bytes = 64};
    sent = send_one(writer, beyond);
  }
  EXPECT_EQ(sent.how, Sending::kBroken);
  EXPECT_EQ(sent.rank, 2u);
}

TEST(NicQueue, ARegionThatIsGoneBreaksItsQueue) {
  std::vector<Word> memory(2 * kRegion / sizeof(Word));
  char* const base = reinterpret_cast<char*>(memory.data());
  const auto gate = std::make_shared<RegionGate>();
  SoftNic nic({.rank = 0,
               .regions = {base, base + kRegion},
               .region_bytes = kRegion,
               .processes = {getpid(), getpid()},
               .settings = {.depth = 4},
               .gates = {std::make_shared<RegionGate>(), gate}});
  const auto word = [&] { return std::atomic_ref(*reinterpret_cast<Word*>(base + kRegion)).load(); };
  Patient writer(nic, kForEver);
  ASSERT_EQ(send_one(writer, count_of(1, 0, 1)).how, Sending::kSent);
  while (word() != 1) std::this_thread::yield();
  {
    const std::lock_guard lock(gate->mutex);
    gate->open = false;
  }
  Sent sent;
  for (Word count = 2; sent.how == Sending::kSent; ++count) sent = send_one(writer, count_of(1, 0, count));
  EXPECT_EQ(sent.how, Sending::kBroken);
  EXPECT_EQ(writer.completion(&nic.queue(1, 0)).error, mlx5::kRemoteAccess);
  EXPECT_EQ(word(), 1u);
}

TEST(NicQueue, ADoorbellAheadOfItsRecordBreaksItsQueue) {
  Ranks ranks(4);
  Patient writer(ranks.nic, kForEver);
  SoftNic::Queue& queue = ranks.nic.queue(1, 0);
  writer.add({&queue, 0, true}, count_of(1, 0, 1), 1);
  std::atomic_ref(queue.shown->doorbell).store(mlx5::doorbell(1, queue.number));
  ranks.nic.ring();
  while (writer.completion(&queue).error == 0) std::this_thread::yield();
  EXPECT_EQ(ranks.word(1, 0), 0u);
}

// Each has rows and a word of its own, all one queue: runs stay whole, and counts behind their rows.
TEST(NicQueue, SeveralWarpsFillOneQueue) {
  constexpr uint32_t kWarps = 4, kTurns = kSlow ? 100 : 1000, kBytes = 256;
  Ranks ranks(4);
  std::vector<std::thread> warps;
  for (uint32_t w = 0; w < kWarps; ++w)
    warps.emplace_back([&, w] {
      Patient writer(ranks.nic, kForEver);
      for (Word turn = 1; turn <= kTurns; ++turn) {
        ranks.await(0, w, turn - 1);  // the reader has had it
        char* const row = ranks.region(0) + kRows + w * kBytes;
        std::memset(row, int(turn), kBytes);
        const NicEntry run[] = {{.rank = 1, .to = kRows + w * kBytes, .from = row, .bytes = kBytes},
                                count_of(1, w, turn)};
        EXPECT_EQ(NicSender(OneLane{}, writer).send(run).how, Sending::kSent);
      }
    });
  uint32_t wrong = 0;
  for (Word turn = 1; turn <= kTurns; ++turn)
    for (uint32_t w = 0; w < kWarps; ++w) {
      ranks.await(1, w, turn);
      const char* const row = ranks.region(1) + kRows + w * kBytes;
      wrong += row[0] != char(turn) || row[kBytes - 1] != char(turn) || ranks.word(1, w) != turn;
      std::atomic_ref(*reinterpret_cast<Word*>(ranks.region(0) + w * kWordBytes)).store(turn);
    }
  for (std::thread& warp : warps) warp.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(ranks.nic.queue(1, 0).reserved, 2 * kWarps * kTurns);
}

// Lanes that are threads, and meet in each verb.
struct Lanes {
  static constexpr int kCount = 5;
  struct Shared {
    std::barrier<> all{kCount};
    std::array<uint64_t, kCount> said{};
  };
  Shared* shared;
  int mine;

  int lane() const { return mine; }
  void meet() const { shared->all.arrive_and_wait(); }
  std::array<uint64_t, kCount> hear(uint64_t said) const {
    shared->said[size_t(mine)] = said;
    meet();
    const std::array<uint64_t, kCount> heard = shared->said;
    meet();
    return heard;
  }
  uint32_t ballot(bool said) const {
    uint32_t bits = 0;
    const std::array<uint64_t, kCount> heard = hear(said);
    for (int l = 0; l < kCount; ++l) bits |= uint32_t(heard[size_t(l)]) << l;
    return bits;
  }
  template <class T>
  T from(const T& value, int of) const {
    return T(hear(uint64_t(value))[size_t(of)]);
  }
};

// Lanes with different ranks, queues and numbers of entries: a doorbell for each queue, and rows before their counts.
TEST(NicQueue, LanesShareRunsByQueue) {
  constexpr Word kTurns = kSlow ? 50 : 200;
  Ranks ranks(4);
  Patient writer(ranks.nic, kForEver);
  Lanes::Shared shared;
  std::vector<std::thread> lanes;
  for (int l = 0; l < Lanes::kCount; ++l)
    lanes.emplace_back([&, l] {
      for (Word turn = 1; turn <= kTurns; ++turn) {
        const uint32_t rank = 1 + uint32_t(l % 2), queue = uint32_t(l == 4);
        char* const row = ranks.region(0) + kRows + l * 64;
        std::memset(row, int(turn), 64);
        NicEntry mine[] = {{.rank = rank, .queue = queue, .to = kRows + uint64_t(l) * 64, .from = row, .bytes = 64},
                           {},
                           count_of(rank, uint32_t(l), turn, queue)};
        if (l == 3) mine[0] = {};
        EXPECT_EQ(NicSender(Lanes{&shared, l}, writer).send(mine).how, Sending::kSent);
        ranks.await(rank, uint32_t(l), turn);
        if (l != 3) {
          EXPECT_EQ(ranks.region(rank)[kRows + l * 64 + 63], char(turn));
        }
        shared.all.arrive_and_wait();
      }
    });
  for (std::thread& lane : lanes) lane.join();
  // Entries of lanes 0 and 2; of 1 and 3, which puts nothing; of 4.
  EXPECT_EQ(ranks.nic.queue(1, 0).reserved, kTurns * 4);
  EXPECT_EQ(ranks.nic.queue(2, 0).reserved, kTurns * 3);
  EXPECT_EQ(ranks.nic.queue(1, 1).reserved, kTurns * 2);
}

TEST(ToldWordsDeathTest, AreOfTheRegionsFront) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Word table[4] = {};
  const ToldWords told{table, 2};
  EXPECT_EQ(&told.at(1, kWordBytes), &table[3]);
  EXPECT_DEATH(told.at(0, 2 * kWordBytes), "broken: .*words");
  EXPECT_DEATH(told.at(0, 8), "broken: to % kWordBytes");
}

}  // namespace
}  // namespace transload::test
