// Running a world to its end, and judging how it ended.
#include "sim/world/world.h"

#include <algorithm>
#include <numeric>

#include "base/math.h"
#include "base/probes/planting.h"
#include "base/time_units.h"
#include "sim/world/group_of.h"

namespace transload {
namespace {

constexpr uint64_t kLookEveryNs = 10'000'000;  // time between two looks at waits; a host looks as often
constexpr uint32_t kLookEverySteps = 1 << 14;
constexpr uint64_t kStepMs = 60'000;  // the most real time that one step may take

}  // namespace

World::World() = default;
World::~World() = default;

WorldResult World::run(const Scenario& scenario, const WorldOptions& options) {
  const Planting planting(options.canary);
  if (!watch_) watch_ = std::make_unique<StepWatch>(kStepMs, [this] { return running_text(); });
  make(scenario, options);
  watch_->rest(false);
  while (step()) {
  }
  if (violation_.checker == Checker::kNone && !stopped_) check_endings();
  WorldResult result;
  result.digest = journal_->digest();
  result.events = journal_->count();
  result.steps = steps_;
  result.virtual_ns = timeline_->now();
  for (const FaultState& f : faults_) result.faults_done += f.done;
  for (const auto& group : groups_)
    result.groups_ended +=
        std::any_of(group->endings.begin(), group->endings.end(), [](const Ending& e) { return bool(e.fault); });
  if (waits_.empty()) describe_waits();
  wind_up();
  watch_->rest(true);
  result.violation = violation_;
  result.stopped = stopped_;
  return result;
}

// Lets one thing happen. False: the world is at its end.
bool World::step() {
  if (violation_.checker != Checker::kNone || stopped_) return false;
  if (++steps_ > options_.steps_max) {
    broken({.checker = Checker::kLiveness,
            .what = "still runs after " + std::to_string(steps_) + " steps",
            .word = 0,
            .rank = 0,
            .warp = -1,
            .event = 0});
    return false;
  }
  watch_->step();
  timeline_->advance_to(timeline_->now() + steps_ns_);
  timeline_->run_due();
  if (steps_ % kLookEverySteps == 0) look_at_waits();
  for (size_t i = 0; i < faults_.size(); ++i)
    if (faults_[i].due && !faults_[i].done) do_fault(faults_[i], scenario_->faults[i]);
  if (all_done()) {
    renew_groups();
    if (all_done() && flights_->landable() == 0 && !flights_->hurry()) return false;
  }
  return choose();
}

bool World::choose() {
  const uint32_t ready = seeded_->ready(), landable = flights_->landable();
  if (ready + landable == 0) return flights_->hurry() || idle();
  uint32_t pick;
  if (options_.chooser != nullptr) {
    pick = options_.chooser->choose(ready, landable);
    if (pick == Chooser::kStop) {
      stopped_ = true;
      return false;
    }
  } else if (landable > 0 && (ready == 0 || chance_.in_256(manners_.land))) {
    pick = ready + chance_.below(landable);
  } else {
    pick = chance_.below(ready);
    const uint32_t process = seeded_->fiber(seeded_->ready_fiber(pick)).process;
    // A slow rank has only one in `times_slower` of its turns.
    if (processes_[process].times_slower > 1 && chance_.below(processes_[process].times_slower) != 0) return true;
  }
  if (ready + landable != 1) lone_turns_.end();
  if (ready + landable == 1 && alone(pick)) return false;
  if (pick < ready)
    seeded_->run(pick);
  else
    flights_->land(pick - ready);
  return true;
}

bool World::alone(uint32_t pick) {
  if (seeded_->ready() == 0) return false;
  const int fiber = seeded_->ready_fiber(pick);
  if (lone_turns_.take(fiber)) return false;
  const std::string what =
      "a warp has had " + std::to_string(LoneTurns::kMost) + " turns in which nothing else could happen";
  broken({.checker = Checker::kLiveness,
          .what = what,
          .word = 0,
          .rank = seeded_->fiber(fiber).process,
          .warp = -1,
          .event = 0});
  return true;
}

// What the watch says of a step that does not end.
std::string World::running_text() const {
  std::string text = scenario_->name + ", seed " + std::to_string(options_.seed);
  if (options_.canary != Canary::kNone) text += std::string(", canary ") + kCanaryNames[size_t(options_.canary)];
  if (violation_.checker != Checker::kNone) text += ", after \"" + violation_.what + "\"";
  const int running = seeded_->running();
  text += ": step " + std::to_string(steps_) + " does not end: ";
  return text + (running < 0 ? "the world" : "rank " + std::to_string(seeded_->fiber(running).process));
}

// Nothing can happen at this time, so it passes to when something is due. False: the world is stuck.
bool World::idle() {
  uint64_t next = timeline_->next();
  bool waits = false;
  for (const auto& group : groups_)
    for (const auto& rank : group->ranks) {
      const uint64_t expiry = rank->next_expiry();
      waits |= expiry != Timeline::kNever;
      if (!processes_[rank->memory.me().process].stopped) next = std::min(next, expiry);
    }
  const bool faulty = std::any_of(faults_.begin(), faults_.end(), [](const FaultState& f) { return f.done; });
  if (!faulty && waits && next > timeline_->now() + kLookEveryNs && !flights_->waits_for_link()) {
    broken({.checker = Checker::kLiveness,
            .what = "nothing can happen any more, and warps wait",
            .word = 0,
            .rank = 0,
            .warp = -1,
            .event = 0});
    return false;
  }
  if (next == Timeline::kNever) {
    broken({.checker = Checker::kLiveness,
            .what = "nothing can happen any more",
            .word = 0,
            .rank = 0,
            .warp = -1,
            .event = 0});
    return false;
  }
  timeline_->advance_to(std::max(next, timeline_->now()));
  timeline_->run_due();
  if (timeline_->now() >= looked_ + kLookEveryNs || next != timeline_->now()) look_at_waits();
  return true;
}

uint64_t World::first_expiry() const {
  uint64_t first = Timeline::kNever;
  for (const auto& group : groups_)
    for (const auto& rank : group->ranks)
      if (!processes_[rank->memory.me().process].stopped) first = std::min(first, rank->next_expiry());
  return first;
}

void World::look_at_waits() {
  looked_ = timeline_->now();
  if (waits_.empty() && first_expiry() <= looked_) describe_waits();
  for (const auto& group : groups_)
    for (const auto& rank : group->ranks) {
      const Process& process = processes_[rank->memory.me().process];
      if (!process.dead && !process.stopped && !group->ended[rank->core.map.me]) rank->look_at_waits();
    }
}

CallerTurn World::begin_call(GroupOf& group, uint32_t rank, uint32_t call) {
  SimRank& self = *group.ranks[rank];
  CallerTurn turn = CallerTurn::kCalls;
  for (size_t i = 0; i < faults_.size() && group.generation == 0; ++i)
    if (faults_[i].process == self.memory.me().process && faults_[i].call == call && turn == CallerTurn::kCalls)
      turn = meet_fault(faults_[i], scenario_->faults[i], group, rank);
  if (turn == CallerTurn::kLeaves) return turn;
  self.call_since = timeline_->now();
  self.calls_begun = call + 1;
  journal_->record({.what = Happened::kCall,
                    .group = uint8_t(group.number),
                    .rank = uint16_t(rank),
                    .warp = -1,
                    .time = timeline_->now(),
                    .a = call,
                    .b = 0,
                    .c = 0});
  if (group.generation > 0) return turn;
  for (FaultState& f : faults_)
    if (f.process == self.memory.me().process && call == f.call) f.armed = true;
  self.memory.begin_phase();
  rows_moved(group, rank);
  return turn;
}

void World::rows_moved(GroupOf& group, uint32_t rank) {
  const SimRank& self = *group.ranks[rank];
  for (FaultState& f : faults_) {
    if (!f.armed || f.due || group.generation > 0 || f.process != self.memory.me().process) continue;
    // Only a fault at progress 0 comes before the first row.
    if (f.progress > 0 && (self.rows() == 0 || double(self.rows()) < f.progress * double(self.rows_total()))) continue;
    f.armed = false;
    if (f.delay_ns > 0) {
      timeline_->in(f.delay_ns, [&f] { f.due = true; });
      continue;
    }
    f.due = true;
    if (seeded_->running() >= 0) seeded_->yield();  // lets the fault come before this process does anything else
  }
}

void World::end_program(GroupOf& group, uint32_t rank, std::optional<Fault> fault) {
  Ending& ending = group.endings[rank];
  ending.fault = std::move(fault);
  ending.entered = group.ranks[rank]->call_since;
  ending.ended = timeline_->now();
  ending.made_all_calls = !ending.fault;
  group.ended[rank] = true;
  if (scenario_->leave_after && ending.made_all_calls) group.control->goodbye(rank);
  journal_->record({.what = ending.fault ? Happened::kVerdict : Happened::kReturned,
                    .group = uint8_t(group.number),
                    .rank = uint16_t(rank),
                    .warp = -1,
                    .time = timeline_->now(),
                    .a = ending.fault ? uint64_t(ending.fault->culprit_rank) : 0,
                    .b = 0,
                    .c = ending.fault ? uint64_t(ending.fault->kind) : 0});
}

void World::start_program(GroupOf& group, uint32_t rank) {
  const uint32_t process = group.processes[rank];
  seeded_->start({process, group.first_region + rank}, [this, &group, rank](int, NearMemory) {
    SimRank& self = *group.ranks[rank];
    auto say = [this, &self](Checker checker, std::string what) {
      broken({.checker = checker, .what = std::move(what), .rank = self.core.map.me, .event = journal_->count()});
    };
    self.call_since = timeline_->now();
    Program program(self, {scenario_, group.routings.get(), group.seed, say,
                           [this] { return over_ || violation_.checker != Checker::kNone; },
                           [this, &group, rank](uint32_t call) { return begin_call(group, rank, call); },
                           &group == groups_.front().get() ? options_.audience : nullptr});
    std::optional<Fault> fault;
    try {
      program.run();
    } catch (const Error& error) {
      if (error.code() == Code::kFault)
        fault = error.fault();
      else
        say(Checker::kLiveness, std::string("a call is refused: ") + error.what());
    }
    end_program(group, rank, std::move(fault));
  });
}

bool World::survives(uint32_t process) const {
  return !processes_[process].dead && !(processes_[process].stopped && processes_[process].for_good);
}

bool World::all_done() const {
  for (const auto& group : groups_)
    for (uint32_t rank = 0; rank < group->processes.size(); ++rank)
      if (!group->ended[rank] && survives(group->processes[rank])) return false;
  return true;
}

// Makes a new group of the survivors of each group that had a fault (of every group, with made_again). They make all
// calls of the scenario again.
void World::renew_groups() {
  if ((!scenario_->new_group_after && !scenario_->made_again) || violation_.checker != Checker::kNone) return;
  for (size_t i = 0; i < scenario_->groups && groups_.size() == scenario_->groups + i; ++i) {
    const GroupOf& old = *groups_[i];
    const bool faulted = std::any_of(old.endings.begin(), old.endings.end(), [](const Ending& e) { return e.fault; });
    std::vector<uint32_t> left;
    for (uint32_t rank = 0; rank < old.processes.size(); ++rank) {
      const bool culprit = std::any_of(old.endings.begin(), old.endings.end(),
                                       [&](const Ending& e) { return e.fault && e.fault->culprit_rank == rank; });
      if (survives(old.processes[rank]) && !culprit && !cut_off_[old.processes[rank]])
        left.push_back(old.processes[rank]);
    }
    if ((!faulted && !scenario_->made_again) || left.empty()) return;
    groups_.push_back(make_group(uint32_t(i), 1, left));
    GroupOf& fresh = *groups_.back();
    for (uint32_t rank = 0; rank < fresh.processes.size(); ++rank) start_program(fresh, rank);
  }
}

// Whom each rank of the group must name. Where a network was cut in two, that is the lowest rank that it cannot reach.
std::vector<uint32_t> World::culprits_of(size_t i) const {
  const ScenarioFault& f = scenario_->faults[i];
  std::vector<uint32_t> all(ranks_, f.expect.culprit ? *f.expect.culprit : faults_[i].process);
  if (f.expect.kind == FaultKind::kRendezvous) all.assign(ranks_, kNobody);
  if (f.kind != ScenarioFaultKind::kCutNetwork || f.expect.culprit) return all;
  for (uint32_t rank = 0; rank < ranks_; ++rank) {
    all[rank] = 0;
    while (cut_off_[all[rank]] == cut_off_[rank]) ++all[rank];
  }
  return all;
}

void World::check_endings() {
  // Where a call does not wait for the network, ranks may begin the next call, and so its deadline, up to a latency
  // apart.
  const uint64_t apart = rails() == RailMode::kNetwork ? 0 : scenario_->scale_out_link.latency_ns;
  for (const auto& group : groups_) {
    ExpectedVerdict expect;
    std::vector<uint32_t> culprits(ranks_);
    uint64_t since = 0;
    for (size_t i = 0; i < faults_.size() && group->generation == 0; ++i) {
      const ScenarioFault& f = scenario_->faults[i];
      if (!faults_[i].done || f.expect.kind == FaultKind::kNone) continue;
      expect = f.expect;
      culprits = culprits_of(i);
      since = faults_[i].since;
    }
    for (Ending& e : group->endings) e.survivor = survives(group->processes[e.rank]);
    const std::string wrong =
        check_verdicts({.endings = group->endings,
                        .expect = expect,
                        .culprits = culprits,
                        .fault_since = since,
                        .deadline_ns = uint64_t(scenario_->deadline_ms) * kMillisecondNs + apart});
    if (!wrong.empty()) return broken({.checker = Checker::kLiveness, .what = wrong, .event = journal_->count()});
  }
}

const AddressBook* World::book_of(uint64_t offset) const {
  for (const auto& group : groups_)
    if (group->book->holds(offset)) return group->book.get();
  return nullptr;
}

std::string World::address_text(uint64_t offset) const {
  const AddressBook* const book = book_of(offset);
  return book != nullptr ? book->text(offset) : "private memory";
}

void World::describe_waits() {
  waits_.clear();
  for (const auto& group : groups_)
    for (const auto& rank : group->ranks)
      seeded_->each_parked_of(rank->memory.region(), [&](int, Seeded::Fiber& fiber) {
        const WaitRecord r = wait_record(*fiber.park, 0);
        const Fault f = fault_of({FaultKind::kAbsent, r.whom, ""}, {rank->core.map.me, rank->operation, 0, true}, r);
        const Park& park = *fiber.park;
        int first = 0;  // the first need that is not met
        while (first + 1 < park.count && word_now(park.needs[first]) >= park.needs[first].least) ++first;
        const Need& need = park.needs[first];
        const uint64_t word = space_->holds(need.word) ? space_->offset(need.word) : 0;
        std::string text =
            "rank " + std::to_string(rank->core.map.me) + " " + f.role +
            (f.channel >= 0 ? ", channel " + std::to_string(f.channel) : "") + ": waits for " +
            (park.all || park.count == 1 ? "" : "any of " + std::to_string(park.count) + ", first the ") +
            f.waiting_for + (word != 0 ? " (" + address_text(word) + ")" : "") + ": is " + std::to_string(r.seen) +
            ", must be " + std::to_string(r.expected);
        waits_.push_back({.group = group->number,
                          .rank = rank->core.map.me,
                          .channel = r.channel,
                          .whom = r.whom,
                          .leaving = r.what == Waiting::kDone,
                          .word = word,
                          .words = {},
                          .text = std::move(text)});
        for (int k = first; k < park.count; ++k)
          if (space_->holds(park.needs[k].word) && word_now(park.needs[k]) < park.needs[k].least)
            waits_.back().words.push_back(space_->offset(park.needs[k].word));
      });
}

// All fibers run to their ends, wherever they are; nothing that they do counts any more.
void World::wind_up() {
  over_ = true;
  for (uint32_t p = 0; p < processes_.size(); ++p)
    if (seeded_->held(p)) seeded_->hold(p, false);
  while (seeded_->live() > 0) {
    for (const auto& group : groups_)
      for (const auto& rank : group->ranks) rank->vanish();
    TRANSLOAD_CHECK(seeded_->ready() > 0);
    while (seeded_->ready() > 0) seeded_->run(0);
  }
  for (const auto& group : groups_) group->control->close();
}

// Wire and watcher.

// Returns the latest group that has this region.
World::GroupOf* World::group_of_region(uint32_t region) {
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    const GroupOf& g = **group;
    if (region >= g.first_region && region - g.first_region < g.processes.size()) return group->get();
  }
  return nullptr;
}

uint64_t World::ready_at(uint32_t from, const Flight& flight, uint64_t now) {
  const GroupOf* const group = group_of_region(from);
  const uint32_t to = group_of_region(flight.toward) ? group->processes[flight.toward - group->first_region] : 0;
  return links_->ready_at({group->processes[from - group->first_region], to, flight.far, flight.bytes}, now);
}

void World::stores(uint32_t agent, const char* to, size_t bytes) {
  const Flights::AgentName& n = flights_->name(agent);
  GroupOf* const group = group_of_region(n.region);
  const std::string wrong = group->credit->stores(space_->offset(to), bytes);
  if (!wrong.empty()) break_credit(n, to, wrong);
}

void World::counts(uint32_t agent, const Word* word, Word count) {
  const Flights::AgentName& n = flights_->name(agent);
  const std::string wrong = group_of_region(n.region)->credit->counts(space_->offset(word), count);
  if (!wrong.empty()) break_credit(n, word, wrong);
}

void World::break_credit(const Flights::AgentName& who, const void* at, const std::string& wrong) {
  broken({.checker = Checker::kCredit,
          .what = wrong,
          .word = space_->offset(at),
          .rank = who.rank,
          .warp = who.warp,
          .event = journal_->count()});
}

void World::landed_word(uint32_t region, const Word* word) {
  const std::string wrong = growth_.landed(space_->offset(word), *word);
  if (!wrong.empty())
    broken({.checker = Checker::kGrowth,
            .what = wrong,
            .word = space_->offset(word),
            .rank = region,
            .event = journal_->count()});
  seeded_->word_grew(region);
}

void World::landed_command(uint32_t region) {
  if (GroupOf* const group = group_of_region(region)) group->ranks[region - group->first_region]->proxy->stir();
}

void World::captured_put(uint32_t agent) {
  const Flights::AgentName& n = flights_->name(agent);
  if (GroupOf* const group = group_of_region(n.region)) group->ranks[n.rank]->put_captured();
  seeded_->word_grew(n.region);  // drained words may have grown
}

void World::broken(Violation violation) {
  if (violation_.checker != Checker::kNone || over_) return;
  violation.event = journal_->count();
  journal_->record({.what = Happened::kBroken,
                    .group = 0,
                    .rank = uint16_t(violation.rank),
                    .warp = violation.warp,
                    .time = timeline_->now(),
                    .a = uint64_t(violation.checker),
                    .b = violation.word,
                    .c = 0});
  violation_ = std::move(violation);
}

void World::later(uint32_t flight, uint64_t when) {
  const uint64_t number = flights_->number_of(flight);
  timeline_->at(when, [this, flight, number] { flights_->ready(flight, number); });
}

}  // namespace transload
