// Some ranks for a rung, in a world: what ranks.h gives, over the model. Each lands and orders by its own seed.
#pragma once
#include <deque>

#include "ranks.h"
#include "sim/model/model_memory.h"
#include "sim/model/seeded.h"

namespace transload::ladder {

template <uint64_t kSeed>
class ModelRanks final : private Wire, private Watcher {
 public:
  using Warp = ModelWarp;
  using Task = std::function<void(ModelWarp&)>;
  using Tasks = std::function<std::vector<Task>(int)>;
  using Change = std::function<void(HostMemoryOptions&, SchedulerOptions&)>;
  static constexpr const char* kName = "Model";

  explicit ModelRanks(int count, size_t bytes = 1 << 20)
      : space_(uint32_t(count), stride(bytes)), flights_(space_, journal_) {
    // Every seed its own way: most lands late, most lands at once, all of it in pieces.
    Chance draw(kSeed);
    manners_.lazy = draw.below(256);
    manners_.split = draw.below(256);
    manners_.torn = draw.below(256);
    manners_.capture = draw.below(256);
    manners_.again = draw.below(256);
    manners_.switches = 4 + draw.below(120);
    manners_.land = 8 + draw.below(200);
    flights_.reset({this, this, &now_, manners_, false}, draw.fork(1));
    for (int rank = 0; rank < count; ++rank) {
      ModelMemory::AgentRank me{};
      me.rank = me.process = uint32_t(rank);
      me.ranks = uint32_t(count);
      me.mapped.assign(size_t(count), nullptr);
      memories_.emplace_back(ModelShared{&space_, &flights_, &journal_, &chance_, &seeded_, &manners_, &now_}, me);
    }
  }
  ModelRanks(const ModelRanks&) = delete;

  static uint64_t scaled(uint64_t count) { return ladder::scaled((count + 59) / 60 + 2); }
  Word* word(int i, int rank = 0) {
    return reinterpret_cast<Word*>(space_.region(uint32_t(rank)) + kWordBytes * size_t(i));
  }
  char* room(int rank = 0) { return space_.region(uint32_t(rank)) + kWordBytes * kWords; }
  // The host of a rank has written there: its own warps may read it, in their next run.
  void stored(char* at, size_t bytes) { flights_.host_store(at, bytes); }
  uint64_t offset(const void* at) const { return space_.offset(at) % space_.stride(); }
  std::atomic<uint32_t>& abort_word() { return abort_; }

  void run(const Tasks& tasks, const Change& change = nullptr) {
    HostMemoryOptions memory_options;
    SchedulerOptions scheduler_options;
    if (change) change(memory_options, scheduler_options);
    manners_.publish_every = memory_options.publish_every;
    std::vector<std::vector<Task>> all;
    int fibers = 0;
    for (size_t rank = 0; rank < memories_.size(); ++rank) fibers += int(all.emplace_back(tasks(int(rank))).size());
    seeded_.reset({fibers, scheduler_options.near_bytes, kMembersMax}, &now_);
    for (ModelMemory& memory : memories_) {
      if (abort_ != 0) memory.fail();
      const std::vector<Task>& mine = all[memory.me().rank];
      memory.begin_run(int(mine.size()));
      for (int i = 0; i < int(mine.size()); ++i)
        seeded_.start({memory.me().process, memory.region()}, [&memory, &mine, i](int, NearMemory near) {
          ModelWarp warp(memory, i, near);
          mine[size_t(i)](warp);
          warp.settle();
        });
    }
    while (step()) {
    }
    wind_up();
  }

 private:
  static constexpr size_t kWords = 512;
  static size_t stride(size_t bytes) { return (kWordBytes * kWords + bytes + 4095) / 4096 * 4096; }

  // One warp proceeds, or something lands. False: nothing can, or a rule is broken.
  bool step() {
    ++now_;
    const uint32_t ready = seeded_.ready(), landable = flights_.landable();
    if (broken_) return false;
    if (ready + landable == 0) return flights_.hurry();
    if (landable > 0 && (ready == 0 || chance_.in_256(manners_.land)))
      flights_.land(chance_.below(landable));
    else
      seeded_.run(chance_.below(ready));
    return true;
  }
  void wind_up() {
    if (seeded_.live() == 0) return;
    EXPECT_TRUE(broken_) << "warps wait in vain";
    for (ModelMemory& memory : memories_) {
      memory.vanish();
      seeded_.fail(memory.region());
    }
    while (seeded_.ready() > 0) seeded_.run(0);
    ASSERT_EQ(seeded_.live(), 0u);
  }

  uint64_t ready_at(uint32_t, const Flight&, uint64_t now) override { return now; }
  bool ordered() const override { return kSeed % 2 == 0; }
  bool slow(bool) const override { return false; }
  void stores(uint32_t, const char*, size_t) override {}
  void counts(uint32_t, const Word*, Word) override {}
  void landed_word(uint32_t region, const Word*) override { seeded_.word_grew(region); }
  void captured_put(uint32_t agent) override { seeded_.word_grew(flights_.name(agent).region); }
  void later(uint32_t, uint64_t) override {}
  void broken(Violation violation) override {
    if (!broken_) ADD_FAILURE() << kCheckerNames[int(violation.checker)] << ": " << violation.what;
    broken_ = true;
  }

  Space space_;
  Journal journal_{64};
  Flights flights_;
  Seeded seeded_;
  Manners manners_;
  Chance chance_{kSeed};
  uint64_t now_ = 0;
  std::deque<ModelMemory> memories_;
  std::atomic<uint32_t> abort_{0};
  bool broken_ = false;
};

// Whatever a rung is climbed by: each TYPED_TEST has one body for all.
using EveryWarp = ::testing::Types<Ranks, ModelRanks<1>, ModelRanks<2>, ModelRanks<3>, ModelRanks<4>>;
using EveryWay = ::testing::Types<Ranks, ProcessRanks, ModelRanks<1>, ModelRanks<2>, ModelRanks<3>, ModelRanks<4>>;

using OfAHost = ::testing::Types<Ranks, ProcessRanks>;

struct NameOfRanks {
  template <class R>
  static std::string GetName(int i) {
    return std::string(R::kName) + std::to_string(i);
  }
};

}  // namespace transload::ladder
