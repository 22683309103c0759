// Starting flights, landing them in pieces, and cutting them off.
#include "sim/model/flight.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace transload {
namespace {

constexpr uint32_t kPiecesMax = 4;

}  // namespace

void Flights::reset(const Rules& setup, Chance chance) {
  setup_ = setup;
  chance_ = chance;
  for (uint32_t i = 0; i < agents_used_; ++i) {
    agents_[i].pending.clear();
    agents_[i].knows.clear();
    agents_[i].speaks_for.clear();
  }
  agents_used_ = 0;
  for (Flight& flight : flights_) flight.kind = Flight::Type::kNone;
  free_.clear();
  for (uint32_t i = uint32_t(flights_.size()); i > 1; --i) free_.push_back(i - 1);
  landable_.clear();
  lazy_.clear();
  aside_.clear();
  for (TrackedRegion& region : regions_) {
    region.agents.clear();
    region.knows.clear();
    region.arrived.clear();
    region.uncaptured = region.run = region.runs = 0;
    region.frozen = false;
  }
  live_ = at_links_ = numbers_ = counted_used_ = 0;
}

uint32_t Flights::add_agent(const AgentName& name) {
  const uint32_t id = agents_used_++;
  if (id == agents_.size()) agents_.emplace_back();
  Agent& agent = agents_[id];
  agent.name = name;
  agent.fenced = agent.settled = 0;
  if (regions_.size() <= name.region) regions_.resize(name.region + 1);
  regions_[name.region].agents.push_back(id);
  return id;
}

// Once a run has ended, its rank's host knows what each agent of the run was told.
void Flights::gather(TrackedRegion& region) {
  for (const uint32_t agent : region.agents) {
    region.knows.learn_all(agents_[agent].knows);
    agents_[agent].knows.clear();
    agents_[agent].speaks_for.clear();
  }
  region.arrived.clear();
}

void Flights::begin_run(uint32_t region) {
  if (region >= regions_.size()) return;
  gather(regions_[region]);
  regions_[region].run = numbers_;
  ++regions_[region].runs;
}

AskedBy Flights::asked_by(uint32_t agent) const {
  const TrackedRegion& region = regions_[agents_[agent].name.region];
  return {agent, region.runs, region.run};
}

void Flights::record(Happened what, uint32_t agent, const Fact& fact) {
  const AgentName& n = agents_[agent].name;
  const uint64_t offset = space_.holds(fact.at) ? space_.offset(fact.at) : 0;
  const uint64_t from = space_.holds(fact.from) ? space_.offset(fact.from) : 0;
  journal_.record({.what = what,
                   .group = n.group,
                   .rank = uint16_t(n.rank),
                   .warp = n.warp,
                   .time = *setup_.now,
                   .a = fact.a,
                   .b = offset,
                   .c = fact.c,
                   .from = from});
}

void Flights::break_rule(Checker checker, uint32_t agent, const void* at, Breach breach) {
  const AgentName& n = agents_[agent].name;
  Violation violation{.checker = checker,
                      .what = std::move(breach.what),
                      .word = space_.holds(at) ? space_.offset(at) : 0,
                      .rank = n.rank,
                      .warp = n.warp};
  if (breach.other != 0) violation.other = flights_[breach.other].event;
  setup_.watcher->broken(std::move(violation));
}

uint32_t Flights::take(Flight::Type kind, uint32_t agent) {
  uint32_t id;
  if (free_.empty()) {
    if (flights_.empty()) flights_.emplace_back();  // number 0 means no flight
    id = uint32_t(flights_.size());
    flights_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Flight& f = flights_[id];
  static_cast<FlightState&>(f) = {};
  f.speaks_for.clear();
  f.unwritten.clear();
  f.kind = kind;
  f.agent = f.reader = agent;
  f.number = ++numbers_;
  f.runs = regions_[agents_[agent].name.region].runs;
  f.event = journal_.count();
  ++live_;
  return id;
}

// Puts a flight into the lists of what may land.
void Flights::start(uint32_t id) {
  const Flight& f = flights_[id];
  agents_[f.agent].pending.push_back(id);
  if (f.toward != kNobody && !f.at_home && setup_.wire->slow(f.far)) return wait_for_link(id);
  be_lazy(id);
}

void Flights::be_lazy(uint32_t id) {
  if (setup_.whole || !chance_.in_256(setup_.manners.lazy)) return list(id);
  flights_[id].waiting = true;
  lazy_.push_back(id);
}

void Flights::wait_for_link(uint32_t id) {
  Flight& f = flights_[id];
  const uint64_t when = setup_.wire->ready_at(agents_[f.agent].name.region, f, *setup_.now);
  if (when <= *setup_.now) return be_lazy(id);
  f.waiting = f.at_link = true;
  if (when == Wire::kNever) return;
  ++at_links_;
  setup_.watcher->later(id, when);
}

void Flights::ready(uint32_t id, uint32_t number) {
  --at_links_;
  Flight& f = flights_[id];
  if (f.kind == Flight::Type::kNone || f.number != number || f.place != ~uint32_t(0)) return;
  f.waiting = f.at_link = false;
  be_lazy(id);
}

void Flights::freeze(uint32_t region, bool frozen) {
  if (region >= regions_.size()) return;
  regions_[region].frozen = frozen;
  const std::vector<uint32_t> listed = landable_;
  for (const uint32_t id : listed) {
    if (!frozen || !flights_[id].far || flights_[id].toward != region) continue;
    unlist(id);
    list(id);
  }
  const std::vector<Aside> aside = std::exchange(aside_, {});
  for (const Aside& a : aside)
    if (flights_[a.flight].kind != Flight::Type::kNone && flights_[a.flight].number == a.number) list(a.flight);
}

void Flights::list(uint32_t id) {
  const Flight& f = flights_[id];
  if (f.far && f.toward < regions_.size() && regions_[f.toward].frozen) return aside_.push_back({id, f.number});
  flights_[id].place = uint32_t(landable_.size());
  landable_.push_back(id);
}

void Flights::unlist(uint32_t id) {
  Flight& f = flights_[id];
  if (f.place == ~uint32_t(0)) return;
  landable_[f.place] = landable_.back();
  flights_[landable_[f.place]].place = f.place;
  landable_.pop_back();
  f.place = ~uint32_t(0);
}

bool Flights::hurry() {
  bool any = false;
  for (const uint32_t id : lazy_) {
    Flight& f = flights_[id];
    if (f.kind == Flight::Type::kNone || !f.waiting || f.at_link || f.place != ~uint32_t(0)) continue;
    f.waiting = false;
    list(id);
    any = true;
  }
  lazy_.clear();
  return any;
}

// Nobody else's flight may be on its way to these bytes, and nobody may still have to read them.
void Flights::hold_target(uint32_t id) {
  Flight& f = flights_[id];
  f.toward = space_.holds(f.to) ? space_.region_of(f.to) : kNobody;
  f.shadowed = f.toward != kNobody;
  if (!f.shadowed) return;
  Cell* const cells = space_.cell(f.to);
  const size_t count = Space::cells(f.to, f.bytes);
  for (size_t i = 0; i < count; ++i) {
    if (cells[i].writer != 0) {
      const std::string other = text(cells[i].writer);
      return break_rule(Checker::kReuse, f.agent, f.to,
                        {"stores to where " + other + " is still on its way", cells[i].writer});
    }
    if (cells[i].readers != 0)
      return break_rule(Checker::kReuse, f.agent, f.to, "stores over bytes that a flight has still to read");
    cells[i].writer = id;
  }
  setup_.watcher->stores(f.agent, f.to, f.bytes);
}

// Notes that the flight has to read this source, which its agent's copy engine, or the network for it, may read now.
void Flights::hold_source(uint32_t id, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  Flight& f = flights_[id];
  Cell* const cells = space_.cell(from);
  const bool put = f.kind == Flight::Type::kPut;
  const uint32_t region = space_.region_of(from);
  uint32_t by = ~uint32_t(0), least = 0;
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    Cell& c = cells[i];
    ++c.readers;
    if (c.writer != 0 && c.writer != id) {  // a sum may be made in place: then the flight itself writes there
      if (!sees_own(f.reader, c.writer))
        return break_rule(Checker::kLanding, f.reader, from,
                          {"reads what " + text(c.writer) + " has not landed yet", c.writer});
      f.after_own = true;
      continue;
    }
    if (c.landed == 0) {
      if (put) continue;  // nobody writes the padding of a slot
      return break_rule(Checker::kLanding, f.reader, from, "reads bytes that nobody has written");
    }
    if (c.by == by && c.landed <= least) continue;
    by = c.by;
    least = may_read({f.reader, region, !put}, c);
    if (c.landed <= least) continue;
    const bool observed = !put && c.landed <= may_read({f.reader, region, false}, c);
    return break_rule(Checker::kLanding, f.reader, from,
                      observed ? "the copy engine reads bytes that landed after all that its fence made visible to it"
                               : "reads bytes that no count which it observed covers");
  }
}

void Flights::free_source(uint32_t, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i)
    if (cells[i].readers > 0) --cells[i].readers;
}

// An agent sees its own stores in program order, those past the cache after a fence.
bool Flights::sees_own(uint32_t agent, uint32_t writer) const {
  const Flight& w = flights_[writer];
  return w.agent == agent && w.kind != Flight::Type::kPut && is_fenced(w);
}

// Returns a number up to which the reader has observed what covers the flights of this cell's writer. If the cell may
// be read, the number is at least cell.landed.
uint32_t Flights::may_read(const Reader& reader, const Cell& cell) const {
  const Agent& a = agents_[reader.agent];
  const uint32_t by = cell.by, mine = a.name.region;
  const bool host = (by & kHost) != 0, streamed = (by & kStreamed) != 0;
  uint32_t who = by & kWho, home = who;
  if (!host) {
    if ((by & kCount) != 0) who = counted_[who].agent;
    if (who == reader.agent) return streamed ? a.fenced : ~uint32_t(0);
    home = agents_[who].name.region;
  }
  uint32_t least = home == mine ? regions_[mine].run : 0;
  const auto enough = [&](const Knowledge& knows, bool engine) {
    const Told* told = host ? nullptr : knows.of(who, engine);
    if (told != nullptr)
      least = std::max(least, reader.region != mine ? told->settled : streamed ? told->streamed : told->plain);
    if (cell.landed <= least) return true;
    told = knows.of(kHost | home, engine);
    if (told != nullptr) least = std::max(least, told->plain);
    return cell.landed <= least;
  };
  if (cell.landed > least && !enough(a.knows, reader.engine)) enough(regions_[mine].knows, false);
  return least;
}

// Lands what earlier flights of the same agent bring to this source, before it is read.
void Flights::finish_own(uint32_t id, const char* from, size_t bytes) {
  if (!flights_[id].after_own || !space_.holds(from)) return;
  const Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    const uint32_t writer = cells[i].writer;
    if (writer == 0 || writer == id) continue;
    const Flight& other = flights_[writer];
    if (other.agent == flights_[id].agent && other.number < flights_[id].number) finish(writer);
  }
}

uint8_t Flights::pieces() {
  return !setup_.whole && chance_.in_256(setup_.manners.split) ? uint8_t(2 + chance_.below(kPiecesMax - 1)) : 1;
}

void Flights::move(uint32_t agent, const Piece& piece, bool streamed) {
  if (piece.bytes == 0) return;
  const uint32_t id = take(Flight::Type::kMove, agent);
  Flight& f = flights_[id];
  f.streamed = streamed;
  f.to = piece.to;
  f.from = piece.from;
  f.bytes = piece.bytes;
  f.pieces = pieces();
  record(Happened::kMove, agent, {piece.to, id, piece.bytes, piece.from});
  hold_target(id);
  hold_source(id, piece.from, piece.bytes);
  start(id);
}

void Flights::sum(uint32_t agent, const simd::SumJob& job) {
  const uint32_t id = take(Flight::Type::kSum, agent);
  Flight& f = flights_[id];
  f.streamed = job.streamed;
  f.to = job.into;
  f.bytes = row_bytes(job, job.out);
  f.sum.job = job;
  f.sum.rows.clear();
  for (const simd::Rows* rows : {&job.before, &job.here, &job.after})
    f.sum.rows.insert(f.sum.rows.end(), rows->at, rows->at + rows->count);
  record(Happened::kSum, agent, {f.to, id, job.elements});
  hold_target(id);
  each_row(f, [&](const char* row, size_t bytes) { hold_source(id, row, bytes); });
  start(id);
}

void Flights::put(uint32_t agent, const Put& put, uint32_t region) { put_by(agent, asked_by(agent), put, region); }

void Flights::put_by(uint32_t reader, const AskedBy& asked, const Put& put, uint32_t region) {
  const uint32_t agent = asked.agent, id = take(Flight::Type::kPut, agent);
  Flight& f = flights_[id];
  f.far = true;
  f.reader = reader;
  f.runs = asked.runs;
  f.queue = setup_.rails == RailMode::kQueues ? put.queue : 0;
  f.from = put.from;
  f.to = space_.region(region) + put.offset;
  f.bytes = put.bytes;
  f.drained = put.drained;
  f.drained_count = put.drained_count;
  f.pieces = pieces();
  f.again = !setup_.whole && chance_.in_256(setup_.manners.again);
  record(Happened::kPut, agent, {f.to, id, put.bytes, f.from});
  hold_target(id);
  hold_source(id, f.from, f.bytes);
  ++regions_[agents_[agent].name.region].uncaptured;
  start(id);
}

void Flights::mark(const AskedBy& asked, const Count& count) {
  const uint32_t agent = asked.agent, id = take(Flight::Type::kMark, agent);
  Flight& f = flights_[id];
  f.far = count.far;
  f.release = count.release;
  f.to = reinterpret_cast<char*>(count.word);
  f.toward = count.region;
  f.bytes = sizeof(Word);
  f.count = count.count;
  f.live = count.live;
  f.queue = setup_.rails == RailMode::kQueues ? count.queue : 0;
  f.adds = count.adds;
  f.added = count.added;
  f.at_home = count.at_home;
  f.runs = asked.runs;
  f.run = asked.run;
  f.speaks_for = agents_[agent].speaks_for;
  f.covers = {f.number, agents_[agent].fenced, agents_[agent].settled};
  record(Happened::kMark, agent, {f.to, id, count.count});
  setup_.watcher->counts(agent, count.word, count.count);
  start(id);
}

void Flights::command(uint32_t agent, Word* word, Word value, bool release) {
  const uint32_t id = take(Flight::Type::kMark, agent);
  Flight& f = flights_[id];
  f.command = f.at_home = true;
  f.release = release;
  f.to = reinterpret_cast<char*>(word);
  f.toward = agents_[agent].name.region;
  f.bytes = sizeof(Word);
  f.count = value;
  f.run = regions_[f.toward].run;
  f.covers = {f.number, agents_[agent].fenced, agents_[agent].settled};
  record(Happened::kMark, agent, {f.to, id, value});
  start(id);
}

void Flights::store_fence(uint32_t agent) {
  agents_[agent].fenced = numbers_;
  if (!agents_[agent].pending.empty()) record(Happened::kFence, agent, {nullptr, 0, 0});
}

void Flights::engine_fence(uint32_t agent) {
  agents_[agent].knows.engine_fence();
  record(Happened::kEngine, agent, {nullptr, 0, 0});
}

void Flights::drain(uint32_t agent) {
  if (!agents_[agent].pending.empty()) record(Happened::kDrain, agent, {nullptr, 0, 0});
  each_pending(agent, [&](uint32_t id) {
    const Flight& f = flights_[id];
    if ((f.kind == Flight::Type::kMove || f.kind == Flight::Type::kSum) && !f.captured) capture(id);
  });
}

// Lands the flights of this agent within the node, in program order. Those over the network are not waited for.
void Flights::settle(uint32_t agent) {
  agents_[agent].fenced = numbers_;
  if (!agents_[agent].pending.empty()) record(Happened::kSettle, agent, {nullptr, 0, 0});
  each_pending(agent, [&](uint32_t id) {
    if (flights_[id].far) return;
    if (flights_[id].kind == Flight::Type::kMark)
      land_mark(id, true);
    else
      finish(id);
  });
  agents_[agent].settled = numbers_;
}

void Flights::arrive(uint32_t agent) {
  Agent& a = agents_[agent];
  TrackedRegion& region = regions_[a.name.region];
  for (const Arrived& other : region.arrived) {
    a.speaks_for.push_back(other);
    a.knows.learn(other.agent, {other.settled, other.settled, other.settled});
  }
  region.arrived.push_back({agent, a.settled});
}

Word Flights::observe(uint32_t agent, const Word* word, bool acquires) {
  if (!acquires || !space_.holds(word)) return word_at(word);
  const uint32_t by = space_.cell(word)->by;
  if ((by & kCount) == 0) return word_at(word);
  const CountedWord& c = counted_[by & kWho];
  Knowledge& knows = agents_[agent].knows;
  const Told* const known = knows.of(c.agent, false);
  if (known == nullptr || known->plain < c.covers.plain || !c.speaks_for.empty()) {
    knows.learn(c.agent, c.covers);
    knows.learn(kHost | agents_[c.agent].name.region, {c.run, c.run, c.run});
    for (const Arrived& other : c.speaks_for) knows.learn(other.agent, {other.settled, other.settled, other.settled});
  }
  return word_at(word);
}

void Flights::peek(uint32_t agent, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  const Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    const Cell& c = cells[i];
    if (c.writer != 0 && sees_own(agent, c.writer)) finish(c.writer);
    if (c.writer != 0)
      return break_rule(Checker::kLanding, agent, from,
                        {"reads what " + text(c.writer) + " has not landed yet", c.writer});
    if (c.landed == 0) return break_rule(Checker::kLanding, agent, from, "reads bytes that nobody has written");
    if (c.landed > may_read({agent, space_.region_of(from), false}, c))
      return break_rule(Checker::kLanding, agent, from, "reads bytes that no count which it observed covers");
  }
}

void Flights::after_fault(uint32_t agent, const void* to) {
  break_rule(Checker::kReuse, agent, to, "stores after its rank has heard of the fault");
}

void Flights::fell(uint32_t agent, const Word* word, Word from, Word to) {
  break_rule(Checker::kGrowth, agent, word,
             "takes a word that was " + std::to_string(from) + " to be " + std::to_string(to));
}

void Flights::host_store(char* to, size_t bytes) {
  if (!space_.holds(to)) return;
  ++numbers_;
  Cell* const cells = space_.cell(to);
  for (size_t i = 0, n = Space::cells(to, bytes); i < n; ++i) {
    cells[i].landed = numbers_;
    cells[i].by = kHost | space_.region_of(to);
  }
}

void Flights::host_load(const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  const uint32_t region = space_.region_of(from);
  if (region >= regions_.size() || regions_[region].agents.empty()) return;
  begin_run(region);
  const uint32_t agent = regions_[region].agents.front();
  const Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    const Cell& c = cells[i];
    if (c.writer != 0)
      return break_rule(Checker::kLanding, agent, from,
                        "its host reads what " + text(c.writer) + " has not landed yet");
    if (c.landed == 0)
      return break_rule(Checker::kLanding, agent, from, "its host reads bytes that nobody has written");
    if (c.landed > may_read({agent, region, false}, c))
      return break_rule(Checker::kLanding, agent, from, "its host reads bytes that no count which it observed covers");
  }
}

bool Flights::at_rest(const char* at, size_t bytes) const {
  if (!space_.holds(at)) return true;
  const Cell* const cells = space_.cell(at);
  for (size_t i = 0, n = Space::cells(at, bytes); i < n; ++i)
    if (cells[i].writer != 0 || cells[i].readers != 0) return false;
  return true;
}

}  // namespace transload
