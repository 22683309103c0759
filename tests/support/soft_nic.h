// A NIC made of a thread, for ranks that fill its queues themselves, as a GPU fills those of a real NIC.
//
// Queues, doorbells, their records and completions lie in memory as an mlx5 NIC has them (mlx5_entry.h). The thread
// reads what doorbells say, takes entries apart, and moves bytes between the network regions of ranks: in order within
// a queue, with delays drawn from its seed between queues. A write that reaches outside a region, into one that is
// gone, or to a rank whose process has ended breaks its queue, as with a real NIC: it gets an error completion, and all
// entries that follow are flushed.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "channel/nic_queue.h"
#include "os/descriptor.h"
#include "tests/support/mlx5_entry.h"

namespace transload::test {

struct SoftNicSettings {
  uint64_t seed = 1;
  uint32_t depth = 16;  // of a queue, in entries: a power of two
  bool spoils = false;  // some writes land behind the count that follows them
  uint32_t late = 0;    // for how many calls of progress() a link keeps each credit, as channel/scaleout.h allows
};
// Reads "key=value,key". Throws at an unknown key, because a test whose setting has no effect would prove nothing.
SoftNicSettings soft_nic_settings(const std::string& text);
// The settings of NICs of groups that are made from now on, in programs that have NICs.
SoftNicSettings& soft_nics_given();

// A region that its rank takes away while others may still write there.
struct RegionGate {
  std::shared_mutex mutex;  // shared while a NIC writes
  bool open = true;
};

class SoftNic {
 public:
  struct Setup {
    uint32_t rank = 0;             // whose NIC this is
    std::vector<char*> regions;    // [ranks] the network region of each as this process sees it; null: none leads there
    uint64_t region_bytes = 0;     // of each
    std::vector<pid_t> processes;  // [ranks]
    uint32_t queues = 1;           // to each rank
    SoftNicSettings settings;
    // Memory for queues that a GPU fills and reaches: zeros, as long as bytes_of() says. Null: the NIC takes its own.
    char* memory = nullptr;
    uint32_t local_key = 0;                               // of this region as a write's source; 0: key_of(rank)
    bool polls = false;                                   // looks at doorbells itself, because nobody calls ring()
    std::vector<std::shared_ptr<RegionGate>> gates = {};  // [ranks]; empty: regions stay
  };

  // The part of a queue that both the NIC and whoever fills the queue see.
  struct Shown {
    alignas(128) mlx5::Completion completion;
    alignas(128) uint32_t record;    // index of the next entry that is not there yet, low 16 bits, big
    alignas(128) uint64_t doorbell;  // what mlx5::doorbell() says of that index, written behind the record
    alignas(128) uint64_t scratch;   // old values of words, which nobody reads
  };
  static size_t bytes_of(size_t queues, uint32_t depth) {
    return queues * (sizeof(Shown) + depth * sizeof(mlx5::FetchAddEntry));
  }

  // A queue, with what those who fill it share besides.
  struct Queue {
    uint32_t number, rank;
    NicRoom room;
    Shown* shown;
    mlx5::FetchAddEntry* entries;
    alignas(64) std::atomic<uint64_t> reserved{0};
    std::atomic<uint64_t> ready{0};  // entries before it are filled
    std::mutex posting;
    uint64_t posted = 0;
  };

  explicit SoftNic(Setup setup);
  // Executes all entries for which a doorbell was rung, then ends.
  ~SoftNic();
  SoftNic(const SoftNic&) = delete;
  SoftNic& operator=(const SoftNic&) = delete;

  Queue& queue(uint32_t rank, uint32_t number) { return *queues_.at(rank * size_t(setup_.queues) + number); }
  const std::vector<std::unique_ptr<Queue>>& queues() const { return queues_; }
  const char* region() const { return setup_.regions[setup_.rank]; }
  uint64_t region_bytes() const { return setup_.region_bytes; }
  size_t ranks() const { return setup_.regions.size(); }
  uint32_t region_key() const { return setup_.local_key != 0 ? setup_.local_key : key_of(setup_.rank); }
  // The key by which a write names the region of that rank, in which addresses begin at 0.
  static uint32_t key_of(uint32_t rank) { return 0x5000 + rank; }
  static constexpr uint32_t kScratchKey = 0x4000;

  void ring();
  // While held the NIC executes nothing, as if its cable were dead and it did not know.
  void hold(bool held);
  // From now on entries for that rank fail with this syndrome, as after retries that nobody answered.
  void refuse(uint32_t rank, uint8_t syndrome) { refused_[rank].store(syndrome); }
  // Calls `use` with the latest NIC of that rank in this process. False: there is none.
  static bool with(uint32_t rank, const std::function<void(SoftNic&)>& use);

 private:
  // The part of a queue that only the NIC knows.
  struct Engine {
    uint64_t executed = 0;
    uint64_t shut_until = 0;  // the turn until which it executes nothing
    uint32_t done = ~0u;      // counter of a completion that is not shown yet; ~0: none
    uint8_t error = 0;        // what broke it; 0: nothing
  };
  struct LateWrite {
    uint32_t rank;
    char* to;
    std::vector<char> bytes;
    uint64_t turn;
  };

  void run();
  void rest(uint32_t rung, uint32_t& idle);
  bool turn(bool hurry);
  void land_late(bool all);
  uint32_t waiting(const Queue& queue, const Engine& engine) const;
  void execute(Queue& queue, Engine& engine);
  uint8_t carry_out(const Queue& queue, const mlx5::FetchAddEntry& entry);
  char* reach(const Queue& queue, uint32_t key, uint64_t address, uint64_t bytes);
  template <class Move>
  bool into_region(uint32_t rank, Move move);
  bool alive(uint32_t rank);
  void show(Queue& queue, Engine& engine);
  size_t below(size_t bound) { return size_t(random_() % bound); }
  bool one_in(size_t sides) { return below(sides) == 0; }

  struct FreeAligned {
    void operator()(char* at) const { ::operator delete(at, std::align_val_t(alignof(Shown))); }
  };

  const Setup setup_;
  std::unique_ptr<char, FreeAligned> own_memory_;
  std::vector<std::unique_ptr<Queue>> queues_;  // [rank][number]
  std::vector<Descriptor> others_;              // [ranks] descriptors of other ranks' processes; none for this one
  std::vector<Engine> engines_;
  std::vector<LateWrite> late_;
  std::mt19937_64 random_;
  uint64_t turns_ = 0;
  std::atomic<uint32_t> rings_{0};
  std::atomic<bool> stops_{false}, held_{false};
  std::unique_ptr<std::atomic<uint8_t>[]> refused_;  // [ranks] a syndrome, or 0
  std::thread thread_;
};

// The Nic of NicSender on a CPU: it fills the queues of a soft NIC. Several may fill the same queues, each for other
// words.
class SoftNicWriter {
 public:
  using Queue = SoftNic::Queue*;
  explicit SoftNicWriter(SoftNic& nic)
      : nic_(nic),
        words_(nic.ranks() * (nic.region_bytes() / kWordBytes)),
        told_{words_.data(), nic.region_bytes() / kWordBytes} {}
  virtual ~SoftNicWriter() = default;

  Queue queue(uint32_t rank, uint32_t number) { return &nic_.queue(rank, number); }
  NicRoom room(Queue queue) const { return queue->room; }
  uint64_t reserved(Queue queue) const { return queue->reserved.load(std::memory_order_acquire); }
  bool reserve(Queue queue, uint64_t from, uint64_t to) { return queue->reserved.compare_exchange_strong(from, to); }
  NicCompletion completion(Queue queue) const;
  Word& told(uint32_t rank, uint64_t to) const { return told_.at(rank, to); }
  void write(const NicSlot<Queue>& slot, const NicEntry& entry);
  void add(const NicSlot<Queue>& slot, const NicEntry& entry, Word added);
  void submit(Queue queue, uint64_t first, uint32_t entries);
  virtual bool waits(uint32_t) { return false; }

 private:
  static mlx5::ControlSegment control(const NicSlot<Queue>& slot, uint32_t opcode);

  SoftNic& nic_;
  std::vector<Word> words_;
  const ToldWords told_;
};

// A warp of one thread.
struct OneLane {
  static int lane() { return 0; }
  static uint32_t ballot(bool mine) { return mine; }
  template <class T>
  static T from(const T& value, int) {
    return value;
  }
  static void meet() {}
};

}  // namespace transload::test
