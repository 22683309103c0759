// A world: all ranks of a cluster in one thread, in virtual time, in the order that a seed chooses. An object runs one
// world at a time, and keeps its memory for the next one.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/canary.h"
#include "sim/checkers/credit.h"
#include "sim/checkers/growth.h"
#include "sim/checkers/liveness.h"
#include "sim/model/flight.h"
#include "sim/model/links.h"
#include "sim/model/rings.h"
#include "sim/scenario/scenario.h"
#include "sim/world/program.h"
#include "sim/world/sim_rank.h"
#include "sim/world/step_watch.h"

namespace transload {

// Chooses what happens next where several things can. In a world without a chooser the seed does.
class Chooser {
 public:
  virtual ~Chooser() = default;
  // Returns 0 to ready - 1 for one of the ready warps, or ready plus 0 to landable - 1 for one of the flights that may
  // land. kStop: this walk is over.
  static constexpr uint32_t kStop = ~uint32_t(0);
  virtual uint32_t choose(uint32_t ready, uint32_t landable) = 0;
};

struct WorldOptions {
  uint64_t seed = 1;
  Canary canary = Canary::kNone;
  size_t events_kept = 4096;
  Chooser* chooser = nullptr;
  Audience* audience = nullptr;           // follows the first group
  std::optional<uint64_t> schedule_seed;  // seed of all but the workload; none: `seed` serves for all
  uint32_t publish_every = 0;             // publish and credit calls between two flushes; 0: from the seed
  uint64_t steps_max = 200'000'000;
};

struct WorldResult {
  Violation violation;  // kNone: all checkers were satisfied
  uint64_t digest = 0, events = 0, steps = 0, landed = 0;
  uint64_t virtual_ns = 0;
  bool stopped = false;       // the chooser ended the world
  uint32_t faults_done = 0;   // faults of the scenario that happened
  uint32_t groups_ended = 0;  // groups that a verdict ended
  bool passed() const { return violation.checker == Checker::kNone; }
};

class World final : private Wire, private Watcher {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Throws Error{kInvalidArgument} for a scenario that no group can be made of, {kOutOfMemory}.
  WorldResult run(const Scenario& scenario, const WorldOptions& options);

  // Journal and memory of the last world, for explaining it.
  const Journal& journal() const { return *journal_; }
  const Space& space() const { return *space_; }
  std::string address_text(uint64_t offset) const;
  const AddressBook* book_of(uint64_t offset) const;  // null: private memory
  // A warp that waited when the first wait expired, or else when the world ended.
  struct Wait {
    uint32_t group, rank;
    int32_t channel;  // -1: no channel
    uint32_t whom;
    bool leaving;                 // the warp waits only for others to be done
    uint64_t word;                // offset of a word; 0: none
    std::vector<uint64_t> words;  // offsets of all words that the warp still waits for
    std::string text;             // "rank 3 sender, channel 1: waits for ..."
  };
  const std::vector<Wait>& waits() const { return waits_; }

 private:
  struct GroupOf;  // all ranks of one group
  struct Process {
    bool dead = false, stopped = false, for_good = false;
    uint32_t times_slower = 1;
    uint64_t stopped_from = 0, stopped_until = 0;
  };
  struct FaultState {
    uint32_t call = 0;
    double progress = 0;
    uint32_t process = 0, other = 0;
    bool armed = false, due = false, done = false;
    uint64_t delay_ns = 0;  // from the moment that `progress` is reached: the rank may be waiting when the fault comes
    uint64_t since = 0;
  };

  void make(const Scenario& scenario, const WorldOptions& options);
  void draw_manners();
  struct WorldRoom {
    size_t near = 0;
    int warps = 0;
    uint32_t needs = 0;
  };
  void measure_groups(WorldRoom& room);
  void measure_group(const std::vector<uint32_t>& processes, WorldRoom& room);
  void measure(const GroupOptions& options, WorldRoom& room);
  std::vector<uint32_t> nodes_of(const std::vector<uint32_t>& processes) const;
  ModelShared model_shared();
  void add_rank(GroupOf& group, uint32_t rank, const std::vector<char*>& regions);
  void add_proxy(GroupOf& group, SimRank& rank);
  RailMode rails() const {
    return scenario_->scale_out == ScenarioScaleOut::kMapped ? RailMode::kNetwork : scenario_->rails;
  }
  std::unique_ptr<GroupOf> make_group(uint32_t number, uint32_t generation, std::vector<uint32_t> processes);
  void start_program(GroupOf& group, uint32_t rank);
  void end_program(GroupOf& group, uint32_t rank, std::optional<Fault> fault);
  CallerTurn begin_call(GroupOf& group, uint32_t rank, uint32_t call);
  CallerTurn meet_fault(FaultState& fault, const ScenarioFault& what, GroupOf& group, uint32_t rank);
  void rows_moved(GroupOf& group, uint32_t rank);
  void arm_faults();
  void begin_fault(FaultState& fault, const ScenarioFault& what);
  void do_fault(FaultState& fault, const ScenarioFault& what);
  void kill(uint32_t process, bool notice);
  void cut(const std::vector<uint32_t>& side);
  std::vector<uint32_t> nodes_apart(uint32_t process) const;
  void go_on(uint32_t process);
  uint64_t stood_still(uint32_t process, uint64_t since) const;
  std::vector<uint32_t> culprits_of(size_t fault) const;
  void check_endings();
  bool survives(uint32_t process) const;
  bool all_done() const;

  bool step();
  bool choose();
  bool alone(uint32_t pick);
  std::string running_text() const;
  bool idle();
  uint64_t first_expiry() const;
  void look_at_waits();
  void renew_groups();
  void describe_waits();
  void wind_up();

  // Wire.
  uint64_t ready_at(uint32_t from, const Flight& flight, uint64_t now) override;
  bool ordered() const override { return ordered_; }
  bool slow(bool far) const override { return links_->slow(far); }
  // Watcher.
  void stores(uint32_t agent, const char* to, size_t bytes) override;
  void counts(uint32_t agent, const Word* word, Word count) override;
  void break_credit(const Flights::AgentName& who, const void* at, const std::string& wrong);
  void landed_word(uint32_t region, const Word* word) override;
  void landed_command(uint32_t region) override;
  void captured_put(uint32_t agent) override;
  void broken(Violation violation) override;
  void later(uint32_t flight, uint64_t when) override;

  GroupOf* group_of_region(uint32_t region);

  std::unique_ptr<Space> space_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Flights> flights_;
  std::unique_ptr<Timeline> timeline_;
  std::unique_ptr<Seeded> seeded_;
  std::unique_ptr<ModelLinks> links_;

  const Scenario* scenario_ = nullptr;
  WorldOptions options_;
  Chance chance_;
  Manners manners_;
  bool ordered_ = false;
  bool needs_progress_ = false;  // what comes over the network lands only while its receiver runs
  uint32_t command_slots_ = 0;   // slots of each rank's queue of commands, where rails have a proxy
  uint32_t ranks_ = 0, steps_ns_ = 100;
  uint64_t region_bytes_ = 0, command_bytes_ = 0, steps_ = 0, looked_ = 0;
  LoneTurns lone_turns_;
  std::vector<Process> processes_;
  std::vector<bool> cut_off_;
  std::vector<FaultState> faults_;
  std::vector<std::unique_ptr<GroupOf>> groups_;
  GrowthChecker growth_;
  Violation violation_;
  bool over_ = false, stopped_ = false;
  std::vector<Wait> waits_;
  std::unique_ptr<StepWatch> watch_;  // last, so that it ends before what its thread looks at
};

}  // namespace transload
