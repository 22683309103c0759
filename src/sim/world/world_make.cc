// How a world begins: its memory, manners, groups and faults, all from the scenario and the seed.
#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>

#include "base/math.h"
#include "base/mix.h"
#include "sim/scenario/group_options.h"
#include "sim/world/group_of.h"

namespace transload {
// Draws a character for each seed: who hurries, what lands late, how much is in pieces.
void World::draw_manners() {
  auto some = [&](uint32_t most) { return chance_.below(4) == 0 ? 0 : chance_.below(most + 1); };
  manners_.lazy = chance_.below(3) == 0 ? 230 : some(128);
  manners_.split = some(200);
  manners_.torn = some(200);
  manners_.capture = some(160);
  manners_.again = some(128);
  manners_.switches = 4 + chance_.below(120);
  manners_.land = 8 + chance_.below(200);
  manners_.publish_every = 1 + (chance_.below(2) == 0 ? 0 : chance_.below(8));
  if (options_.publish_every > 0) manners_.publish_every = options_.publish_every;
  if (scenario_->scale_out_link.split > 0) manners_.split += uint32_t(scenario_->scale_out_link.split * 64);
  steps_ns_ = 20u << chance_.below(5);
  // One rank in some worlds is slow throughout.
  if (chance_.below(4) == 0) processes_[chance_.below(ranks_)].times_slower = uint32_t(chance_.magnitude(2, 64));
  needs_progress_ = chance_.below(2) == 0;
  ordered_ = scenario_->ordered ? *scenario_->ordered : chance_.below(2) == 0;
  command_slots_ = rails() != RailMode::kProxy ? 0 : 1 + chance_.below(chance_.below(2) == 0 ? 4 : 64);
  if (scenario_->commands > 0) command_slots_ = scenario_->commands;
}

void World::make(const Scenario& scenario, const WorldOptions& options) {
  scenario_ = &scenario;
  options_ = options;
  chance_ = Chance(options.schedule_seed.value_or(options.seed) * kSplitMixStep + 1);
  ranks_ = scenario.ranks;
  steps_ = looked_ = 0;
  lone_turns_.end();
  over_ = stopped_ = false;
  violation_ = {};
  waits_.clear();
  growth_.clear();
  if (!journal_ || journal_->kept() != options.events_kept) {
    flights_ = nullptr;
    journal_ = std::make_unique<Journal>(options.events_kept);
  }
  journal_->clear();
  groups_.clear();
  timeline_ = std::make_unique<Timeline>();
  if (!seeded_) seeded_ = std::make_unique<Seeded>();
  processes_.assign(ranks_, {});
  cut_off_.assign(ranks_, false);
  draw_manners();
  links_ = std::make_unique<ModelLinks>(
      ModelLinks::Network{ranks_, scenario.scale_up, scenario.scale_out_link,
                          [](void* from) { return static_cast<Chance*>(from)->next(); }, &chance_});
  arm_faults();

  std::vector<uint32_t> all(ranks_);
  std::iota(all.begin(), all.end(), 0u);
  WorldRoom room;
  measure_groups(room);
  const uint32_t generations = scenario.new_group_after || scenario.made_again ? 2 : 1,
                 regions = ranks_ * scenario.groups * generations;
  if (!space_)
    space_ = std::make_unique<Space>(regions, region_bytes_);
  else
    space_->reset(regions, region_bytes_, regions * region_bytes_);
  if (!flights_) flights_ = std::make_unique<Flights>(*space_, *journal_);
  flights_->reset({.wire = this,
                   .watcher = this,
                   .now = &timeline_->clock(),
                   .manners = manners_,
                   .whole = options.chooser != nullptr,
                   .rails = rails()},
                  chance_.fork(3));
  const int besides = rails() == RailMode::kProxy ? 2 : 1;  // the caller, and the proxy
  seeded_->reset({int(regions) * (room.warps + besides), room.near, room.needs}, &timeline_->clock());
  for (uint32_t g = 0; g < scenario.groups; ++g) groups_.push_back(make_group(g, 0, all));
  for (const auto& group : groups_)
    for (uint32_t rank = 0; rank < ranks_; ++rank) start_program(*group, rank);
}

// The rank that needs most in any group that may be made says how far regions are apart. The survivors of a fault may
// need more than all ranks did, since nodes of other sizes can have more sources.
void World::measure_groups(WorldRoom& room) {
  region_bytes_ = command_bytes_ = 0;
  std::vector<std::set<uint32_t>> without{{}};
  for (size_t i = 0; i < faults_.size() && scenario_->new_group_after; ++i) {
    const ScenarioFault& f = scenario_->faults[i];
    std::vector<std::set<uint32_t>> ways{{faults_[i].process}};
    if (f.expect.culprit) ways.push_back({*f.expect.culprit});
    if (f.kind == ScenarioFaultKind::kDeadLink) ways.push_back({faults_[i].other});
    if (f.kind == ScenarioFaultKind::kCutNetwork) {
      const std::vector<uint32_t> side = f.ranks.empty() ? nodes_apart(faults_[i].process) : f.ranks;
      ways = {{side.begin(), side.end()}};
    }
    const std::vector<std::set<uint32_t>> before = without;
    for (const std::set<uint32_t>& gone : before)
      for (const std::set<uint32_t>& way : ways) {
        without.push_back(gone);
        without.back().insert(way.begin(), way.end());
      }
  }
  for (const std::set<uint32_t>& gone : without) {
    std::vector<uint32_t> left;
    for (uint32_t p = 0; p < ranks_; ++p)
      if (gone.count(p) == 0) left.push_back(p);
    if (!left.empty()) measure_group(left, room);
  }
}

// Measures one rank of each node with the largest slab there, since ranks of a node differ in nothing else.
void World::measure_group(const std::vector<uint32_t>& processes, WorldRoom& room) {
  const std::vector<uint32_t> sizes = nodes_of(processes);
  for (uint32_t first = 0, n = 0; n < sizes.size(); first += sizes[n++]) {
    GroupOptions options = options_of(*scenario_, sizes, processes, first);
    for (uint32_t rank = first + 1; rank < first + sizes[n]; ++rank)
      options.slab_bytes = std::max(options.slab_bytes, options_of(*scenario_, sizes, processes, rank).slab_bytes);
    measure(options, room);
  }
}

void World::measure(const GroupOptions& options, WorldRoom& room) {
  struct Nobody final : Crew<ModelWarp> {
    bool run(const std::vector<Task>&) override { return false; }
    bool finish_network() override { return false; }
    void set_deadline(uint32_t) override {}
    void note(uint64_t, Phase, uint64_t) override {}
    void fail(const char*) override { std::abort(); }
    void give_up(const char*, const std::string&) override { std::abort(); }
  } nobody;
  const HostCalls<ModelWarp> core(options, nobody);
  uint64_t bytes = core.network_bytes() + core.scale_up_bytes() + scenario_->slab_offset + options.slab_bytes;
  if (command_slots_ > 0) {
    const RingWords words = core.ring_words();
    const CommandPlace place{command_slots_, words.dispatch_rail.producers + words.combine_rail.producers};
    command_bytes_ = std::max(command_bytes_, round_up(place.bytes(), kPageBytes));
    bytes = round_up(bytes, kPageBytes) + command_bytes_;
  }
  region_bytes_ = std::max(region_bytes_, round_up(bytes, kPageBytes));
  room.near = std::max(room.near, size_t(core.near_bytes()));
  const std::vector<uint32_t>& sizes = options.topology.node_sizes;
  const uint32_t most = *std::max_element(sizes.begin(), sizes.end());
  room.needs =
      std::max({room.needs, most * core.map.sources(), 2 * most, core.map.nodes, core.map.sources(), kSetMax * 1u});
  room.warps = std::max(room.warps, int(std::min(options.channels, kWarpsOfRoleMax)) * 3 + 2);
}

// The node sizes of a group of these processes (ascending): nodes that have none of them are left out.
std::vector<uint32_t> World::nodes_of(const std::vector<uint32_t>& processes) const {
  std::vector<uint32_t> sizes;
  uint32_t first = 0;
  for (const uint32_t size : scenario_->node_sizes) {
    const auto here =
        std::count_if(processes.begin(), processes.end(), [&](uint32_t p) { return p >= first && p < first + size; });
    if (here > 0) sizes.push_back(uint32_t(here));
    first += size;
  }
  return sizes;
}

std::unique_ptr<World::GroupOf> World::make_group(uint32_t number, uint32_t generation,
                                                  std::vector<uint32_t> processes) {
  auto group = std::make_unique<GroupOf>();
  group->number = number;
  group->generation = generation;
  group->seed = group_seed(options_.seed, number, generation);
  group->first_region = ranks_ * (number + generation * scenario_->groups);
  group->processes = std::move(processes);
  group->node_sizes = nodes_of(group->processes);
  std::vector<uint32_t> node_of_rank;
  for (uint32_t n = 0; n < group->node_sizes.size(); ++n)
    node_of_rank.insert(node_of_rank.end(), group->node_sizes[n], n);
  const uint32_t ranks = uint32_t(group->processes.size());
  group->routings = std::make_unique<Routings>(*scenario_, group->node_sizes, group->seed);
  const ControlSetup control{.node_of_rank = node_of_rank,
                             .arbiter_in_rank_0 = !scenario_->launcher,
                             .seed = group->seed,
                             .busy_ns = scenario_->control_busy_ms * kMillisecondNs};
  group->control = std::make_unique<SimControl>(*timeline_, control);
  group->control->on_answer([g = group.get()](uint32_t rank) { g->ranks[rank]->heard_answer(); });
  group->control->on_verdict([g = group.get()](uint32_t rank) { g->ranks[rank]->heard_verdict(); });
  group->book = std::make_unique<AddressBook>(*space_, group->first_region);
  if (command_slots_ > 0) group->book->commands_from(region_bytes_ - command_bytes_);
  group->ended.assign(ranks, false);
  std::vector<char*> regions;
  for (uint32_t r = 0; r < ranks; ++r) regions.push_back(space_->region(group->first_region + r));
  for (uint32_t r = 0; r < ranks; ++r) add_rank(*group, r, regions);
  group->credit = std::make_unique<CreditChecker>(*group->book, scenario_->counters_from);
  return group;
}

ModelShared World::model_shared() {
  return {.space = space_.get(),
          .flights = flights_.get(),
          .journal = journal_.get(),
          .chance = &chance_,
          .parker = seeded_.get(),
          .manners = &manners_,
          .now = &timeline_->clock()};
}

void World::add_rank(GroupOf& group, uint32_t rank, const std::vector<char*>& regions) {
  const RankSetting shared{
      .shared = model_shared(),
      .seeded = seeded_.get(),
      .timeline = timeline_.get(),
      .control = group.control.get(),
      .broken = [this](Violation v) { broken(std::move(v)); },
      .stood_still = [this](uint32_t process, uint64_t since) { return stood_still(process, since); }};
  ModelMemory::AgentRank me;
  me.rank = rank;
  me.ranks = uint32_t(group.processes.size());
  me.group = uint8_t(group.number + group.generation * scenario_->groups);
  me.process = group.processes[rank];
  me.first_region = group.first_region;
  me.mapped.assign(me.ranks, nullptr);
  if (scenario_->scale_out == ScenarioScaleOut::kMapped) me.mapped = regions;
  me.rails = rails();
  me.counts_from = scenario_->counters_from;
  me.always_switch = options_.chooser != nullptr;
  if (!faults_.empty() && group.generation == 0) me.on_rows = [this, g = &group, rank] { rows_moved(*g, rank); };
  group.ranks.push_back(std::make_unique<SimRank>(
      shared, options_of(*scenario_, group.node_sizes, group.processes, rank), std::move(me)));
  SimRank& made = *group.ranks.back();
  made.core.common_id = group.ranks.front()->core.id;
  made.place(regions, region_bytes_, scenario_->slab_offset);
  if (command_slots_ > 0) add_proxy(group, made);
  made.count_from(scenario_->counters_from);
  group.book->add(made.core.board);
  group.endings.emplace_back().rank = rank;
}

void World::add_proxy(GroupOf& group, SimRank& rank) {
  const uint32_t region = rank.memory.region(), process = rank.memory.me().process;
  rank.place_commands(space_->region(region) + region_bytes_ - command_bytes_, {command_slots_, rank.drained_words()});
  const SimProxy::ProxyWorld world{.shared = model_shared(),
                                   .seeded = seeded_.get(),
                                   .timeline = timeline_.get(),
                                   .commands_of_a_turn = uint32_t(1 + group.seed / 2 % 8),
                                   .nap_in_256 = group.seed % 2 == 0 ? 0 : manners_.switches,
                                   .on_sleep = [this, region, process](bool awake) {
                                     if (needs_progress_ && !processes_[process].stopped)
                                       flights_->freeze(region, !awake);
                                   }};
  rank.proxy = std::make_unique<SimProxy>(world, rank.memory);
  seeded_->start({process, region}, [proxy = rank.proxy.get()](int, NearMemory) { proxy->run(); });
}

}  // namespace transload
