// See flight.h.
#include "executor/model/flight.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace transload {
namespace {

constexpr uint32_t kPiecesMax = 4;
constexpr uint64_t kCellMask = ~uint64_t(kCellBytes - 1);

size_t row_bytes(const simd::SumJob& job, bool f32) { return job.elements * (f32 ? 4 : 2); }

// Where piece i of n begins: a multiple of a cell's size from the start.
size_t cut(size_t bytes, uint32_t i, uint32_t n) { return i == n ? bytes : bytes * i / n & kCellMask; }

bool landed_whole(const Flight& f) { return f.landed_pieces + 1 == uint32_t(1) << f.pieces; }

Word load(const Word* word) {
  Word value;
  std::memcpy(&value, word, sizeof value);
  return value;
}

}  // namespace

void Flights::reset(const Setup& setup, Chance chance) {
  setup_ = setup;
  chance_ = chance;
  agents_.clear();
  for (Flight& flight : flights_) flight.kind = Flight::Kind::kNone;
  free_.clear();
  for (uint32_t i = uint32_t(flights_.size()); i > 1; --i) free_.push_back(i - 1);
  landable_.clear();
  lazy_.clear();
  regions_.clear();
  aside_.clear();
  landings_ = 1;
  live_ = at_links_ = 0;
  numbers_ = 0;
}

uint32_t Flights::add_agent(const AgentName& name) {
  agents_.push_back({name, landings_, landings_, {}});
  if (regions_.size() <= name.region) regions_.resize(name.region + 1);
  regions_[name.region].agents.push_back(uint32_t(agents_.size() - 1));
  return uint32_t(agents_.size() - 1);
}

void Flights::record(Happened what, uint32_t agent, const void* at, const Said& said) {
  const AgentName& n = agents_[agent].name;
  const uint64_t offset = space_.holds(at) ? space_.offset(at) : 0;
  const uint64_t from = space_.holds(said.from) ? space_.offset(said.from) : 0;
  journal_.record({what, n.group, uint16_t(n.rank), n.warp, *setup_.now, said.a, offset, said.c, from});
}

void Flights::break_rule(Checker checker, uint32_t agent, const void* at, std::string what, uint32_t other) {
  const AgentName& n = agents_[agent].name;
  Violation violation{checker, std::move(what), space_.holds(at) ? space_.offset(at) : 0, n.rank, n.warp, 0};
  if (other != 0) violation.other = flights_[other].event;
  setup_.watcher->broken(std::move(violation));
}

uint32_t Flights::take(Flight::Kind kind, uint32_t agent) {
  uint32_t id;
  if (free_.empty()) {
    if (flights_.empty()) flights_.emplace_back();  // 0 means none
    id = uint32_t(flights_.size());
    flights_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Flight& f = flights_[id];
  std::vector<char> copy = std::move(f.copy);
  std::vector<uint32_t> unwritten = std::move(f.unwritten);
  FlightSum sum = std::move(f.sum);
  f = Flight{};
  f.copy = std::move(copy);
  f.unwritten = std::move(unwritten);
  f.unwritten.clear();
  f.sum = std::move(sum);
  f.kind = kind;
  f.agent = agent;
  f.view = agents_[agent].engine_view;
  f.number = ++numbers_;
  f.run = regions_[agents_[agent].name.region].run;
  f.event = journal_.count();
  ++live_;
  return id;
}

// Into the lists: from now on it may land by itself.
void Flights::start(uint32_t id) {
  Flight& f = flights_[id];
  agents_[f.agent].pending.push_back(id);
  if (f.toward != kNobody && setup_.wire->slow(f.far)) return wait_for_link(id);
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

void Flights::ready(uint32_t id, uint64_t number) {
  --at_links_;
  Flight& f = flights_[id];
  if (f.kind == Flight::Kind::kNone || f.number != number || f.place != ~uint32_t(0)) return;
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
    if (flights_[a.flight].kind != Flight::Kind::kNone && flights_[a.flight].number == a.number) list(a.flight);
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
    if (f.kind == Flight::Kind::kNone || !f.waiting || f.at_link || f.place != ~uint32_t(0)) continue;
    f.waiting = false;
    list(id);
    any = true;
  }
  lazy_.clear();
  return any;
}

// Nobody else's flight may be on its way to these bytes, and nobody may still have to read them.
void Flights::claim_target(uint32_t id) {
  Flight& f = flights_[id];
  f.toward = space_.holds(f.to) ? space_.region_of(f.to) : kNobody;
  f.shadowed = f.toward != kNobody;
  if (!f.shadowed) return;
  Cell* const cells = space_.cell(f.to);
  const size_t count = Space::cells(f.to, f.bytes);
  for (size_t i = 0; i < count; ++i) {
    if (cells[i].writer != 0) {
      const std::string other = text(cells[i].writer);
      return break_rule(Checker::kReuse, f.agent, f.to, "stores to where " + other + " is still on its way",
                        cells[i].writer);
    }
    if (cells[i].readers != 0)
      return break_rule(Checker::kReuse, f.agent, f.to, "stores over bytes that a flight has still to read");
    cells[i].writer = id;
  }
  setup_.watcher->stores(f.agent, f.to, f.bytes);
}

void Flights::hold_source(uint32_t, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) ++cells[i].readers;
}

void Flights::free_source(uint32_t, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i)
    if (cells[i].readers > 0) --cells[i].readers;
}

// An agent sees its own stores in program order, streamed ones after a fence.
bool Flights::sees_own(uint32_t agent, uint64_t number, uint32_t writer) const {
  const Flight& w = flights_[writer];
  return w.agent == agent && w.number < number && w.kind != Flight::Kind::kPut && (!w.streamed || w.fenced);
}

// What the source is must be there, for all to see or for this agent's copy engine.
bool Flights::check_source(uint32_t id, const char* from, size_t bytes) {
  const Flight& f = flights_[id];
  if (!space_.holds(from)) return true;
  const Cell* const cells = space_.cell(from);
  const bool put = f.kind == Flight::Kind::kPut;
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    const Cell& c = cells[i];
    if (c.writer != 0 && sees_own(f.agent, f.number, c.writer)) finish(c.writer);
    if (c.writer != 0) {
      break_rule(Checker::kLanding, f.agent, from, "reads what " + text(c.writer) + " has not landed yet", c.writer);
      return false;
    }
    if (put) continue;  // what a put reads was stored by its own agent; padding may never have been
    if (c.landed == 0) {
      break_rule(Checker::kLanding, f.agent, from, "reads bytes that nobody has written");
      return false;
    }
    if (c.landed > f.view && c.by != f.agent) {
      break_rule(Checker::kLanding, f.agent, from,
                 "the copy engine reads bytes that landed after all that its fence made visible to it");
      return false;
    }
  }
  return true;
}

void Flights::move(uint32_t agent, const Piece& piece, bool streamed) {
  if (piece.bytes == 0) return;
  const uint32_t id = take(Flight::Kind::kMove, agent);
  Flight& f = flights_[id];
  f.streamed = streamed;
  f.to = piece.to;
  f.from = piece.from;
  f.bytes = piece.bytes;
  f.pieces = !setup_.whole && chance_.in_256(setup_.manners.split) ? uint8_t(2 + chance_.below(kPiecesMax - 1)) : 1;
  record(Happened::kMove, agent, piece.to, {id, piece.bytes, piece.from});
  claim_target(id);
  hold_source(id, piece.from, piece.bytes);
  start(id);
}

void Flights::sum(uint32_t agent, const simd::SumJob& job) {
  const uint32_t id = take(Flight::Kind::kSum, agent);
  Flight& f = flights_[id];
  f.streamed = job.streamed;
  f.to = job.into;
  f.bytes = row_bytes(job, job.out_f32);
  f.sum.job = job;
  f.sum.rows.clear();
  for (const simd::Rows* rows : {&job.before, &job.here, &job.after})
    f.sum.rows.insert(f.sum.rows.end(), rows->at, rows->at + rows->count);
  record(Happened::kSum, agent, f.to, {id, job.elements});
  claim_target(id);
  const int here_begin = job.before.count, here_end = here_begin + job.here.count;
  for (int i = 0; i < int(f.sum.rows.size()); ++i) {
    const size_t bytes = row_bytes(job, i >= here_begin && i < here_end ? job.row_f32 : job.part_f32);
    hold_source(id, f.sum.rows[size_t(i)], bytes);
  }
  start(id);
}

void Flights::put(uint32_t agent, const Put& put, uint32_t region) {
  const uint32_t id = take(Flight::Kind::kPut, agent);
  Flight& f = flights_[id];
  f.far = true;
  f.from = put.from;
  f.to = space_.region(region) + put.offset;
  f.bytes = put.bytes;
  f.drained = put.drained;
  f.drained_count = put.drained_count;
  f.pieces = !setup_.whole && chance_.in_256(setup_.manners.split) ? uint8_t(2 + chance_.below(kPiecesMax - 1)) : 1;
  record(Happened::kPut, agent, f.to, {id, put.bytes, f.from});
  claim_target(id);
  hold_source(id, f.from, f.bytes);
  ++regions_[agents_[agent].name.region].uncaptured;
  start(id);
}

void Flights::mark(uint32_t agent, const Count& count) {
  const uint32_t id = take(Flight::Kind::kMark, agent);
  Flight& f = flights_[id];
  f.far = count.far;
  f.release = count.release;
  f.to = reinterpret_cast<char*>(count.word);
  f.toward = count.region;
  f.bytes = sizeof(Word);
  f.count = count.count;
  f.live = count.live;
  record(Happened::kMark, agent, f.to, {id, count.count});
  setup_.watcher->counts(agent, count.word, count.count);
  start(id);
}

void Flights::store_fence(uint32_t agent) {
  for (const uint32_t id : agents_[agent].pending) flights_[id].fenced = true;
  if (!agents_[agent].pending.empty()) record(Happened::kFence, agent, nullptr, {0, 0});
}

void Flights::engine_fence(uint32_t agent) {
  if (agents_[agent].engine_view == agents_[agent].view) return;
  agents_[agent].engine_view = agents_[agent].view;
  record(Happened::kEngine, agent, nullptr, {0, 0});
}

void Flights::drain(uint32_t agent) {
  const std::vector<uint32_t> mine = agents_[agent].pending;
  if (!mine.empty()) record(Happened::kDrain, agent, nullptr, {0, 0});
  for (const uint32_t id : mine) {
    const Flight& f = flights_[id];  // may have ended meanwhile
    if ((f.kind == Flight::Kind::kMove || f.kind == Flight::Kind::kSum) && !f.captured) capture(id);
  }
}

void Flights::settle(uint32_t agent) {
  // In program order; what is far goes on by itself.
  std::vector<uint32_t> mine = agents_[agent].pending;
  if (!mine.empty()) record(Happened::kSettle, agent, nullptr, {0, 0});
  for (const uint32_t id : mine) {
    Flight& f = flights_[id];
    if (f.kind == Flight::Kind::kNone || f.agent != agent || f.far) continue;
    f.fenced = true;
    if (f.kind == Flight::Kind::kMark)
      land_mark(id, true);
    else
      finish(id);
  }
}

Word Flights::observe(uint32_t agent, const Word* word, bool acquires) {
  if (acquires) acquire(agent);
  return load(word);
}

void Flights::peek(uint32_t agent, const char* from, size_t bytes) {
  if (!space_.holds(from)) return;
  const Cell* const cells = space_.cell(from);
  for (size_t i = 0, n = Space::cells(from, bytes); i < n; ++i) {
    const Cell& c = cells[i];
    if (c.writer != 0 && sees_own(agent, numbers_ + 1, c.writer)) {
      finish(c.writer);
      continue;
    }
    if (c.writer != 0)
      return break_rule(Checker::kLanding, agent, from, "reads what " + text(c.writer) + " has not landed yet",
                        c.writer);
    if (c.landed == 0) return break_rule(Checker::kLanding, agent, from, "reads bytes that nobody has written");
    if (c.landed > agents_[agent].view && c.by != agent)
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
  ++landings_;
  Cell* const cells = space_.cell(to);
  for (size_t i = 0, n = Space::cells(to, bytes); i < n; ++i) cells[i].landed = landings_;
}

bool Flights::at_rest(const char* at, size_t bytes) const {
  if (!space_.holds(at)) return true;
  const Cell* const cells = space_.cell(at);
  for (size_t i = 0, n = Space::cells(at, bytes); i < n; ++i)
    if (cells[i].writer != 0 || cells[i].readers != 0) return false;
  return true;
}

// Reads the source, whole.
void Flights::capture(uint32_t id) {
  Flight& f = flights_[id];
  f.captured = true;
  record(Happened::kCaptured, f.agent, f.from, {id, f.number});
  if (f.kind == Flight::Kind::kSum) return add_up(f);
  check_source(id, f.from, f.bytes);
  f.copy.assign(f.from, f.from + f.bytes);
  if (space_.holds(f.from) && f.kind == Flight::Kind::kPut) {
    const Cell* const cells = space_.cell(f.from);
    for (uint32_t i = 0, n = uint32_t(Space::cells(f.from, f.bytes)); i < n; ++i)
      if (cells[i].landed == 0) f.unwritten.push_back(i);
  }
  if (f.kind != Flight::Kind::kPut) free_source(id, f.from, f.bytes);
}

// The network needs the source of a put no more. A drained word shows that only once all before it with the same word
// are complete, too.
void Flights::complete(uint32_t id) {
  Flight& f = flights_[id];
  if (!f.captured) capture(id);
  f.complete = true;
  record(Happened::kDrained, f.agent, f.from, {id, f.drained_count});
  free_source(id, f.from, f.bytes);
  --regions_[agents_[f.agent].name.region].uncaptured;
  if (f.drained != nullptr) {
    const std::vector<uint32_t> mine = agents_[f.agent].pending;
    for (const uint32_t other : mine) {
      const Flight& o = flights_[other];
      if (o.kind == Flight::Kind::kPut && o.drained == f.drained && o.number < f.number && !o.complete) complete(other);
    }
    if (*f.drained < f.drained_count) *f.drained = f.drained_count;
  }
  const uint32_t agent = f.agent;
  if (landed_whole(f)) end(id);
  setup_.watcher->captured_put(agent);
}

void Flights::add_up(Flight& f) {
  simd::SumJob job = f.sum.job;
  f.copy.resize(f.bytes);
  const char* const* rows = f.sum.rows.data();
  job.before.at = rows;
  job.here.at = rows + job.before.count;
  job.after.at = rows + job.before.count + job.here.count;
  job.into = f.copy.data();
  job.streamed = false;
  const uint32_t id = uint32_t(&f - flights_.data());
  const int here_begin = job.before.count, here_end = here_begin + job.here.count;
  for (int i = 0; i < int(f.sum.rows.size()); ++i) {
    const size_t bytes = row_bytes(job, i >= here_begin && i < here_end ? job.row_f32 : job.part_f32);
    check_source(id, rows[i], bytes);
    free_source(id, rows[i], bytes);
  }
  simd::kernels().sum_rows(job);
}

void Flights::land_piece(uint32_t id, uint32_t piece) {
  Flight& f = flights_[id];
  if (!f.captured) capture(id);
  const size_t begin = cut(f.bytes, piece, f.pieces), end = cut(f.bytes, piece + 1, f.pieces);
  f.landed_pieces |= uint32_t(1) << piece;
  std::memcpy(f.to + begin, f.copy.data() + begin, end - begin);
  if (f.shadowed && end > begin) {
    Cell* const cells = space_.cell(f.to + begin);
    ++landings_;
    for (size_t i = 0, n = Space::cells(f.to + begin, end - begin); i < n; ++i) {
      if (cells[i].writer == id) cells[i].writer = 0;
      cells[i].landed = landings_;
      cells[i].by = f.agent;
    }
    const uint32_t first = uint32_t(begin / kCellBytes), last = uint32_t((end + kCellBytes - 1) / kCellBytes);
    for (const uint32_t at : f.unwritten)
      if (at >= first && at < last) space_.cell(f.to)[at].landed = 0;
  }
  record(Happened::kLanded, f.agent, f.to + begin, {id, end - begin});
  if (landed_whole(f) && (f.kind != Flight::Kind::kPut || f.complete)) this->end(id);
}

void Flights::finish(uint32_t id) {
  const uint32_t pieces = flights_[id].pieces;
  for (uint32_t p = 0; p < pieces; ++p)
    if ((flights_[id].landed_pieces >> p & 1) == 0) land_piece(id, p);
}

// Does this count cover that flight, so that it has to land first? What other warps of the rank put in earlier runs is
// covered too: a ring belongs to its channel, and who serves that changes from call to call.
bool Flights::covered(const Flight& mark, const Flight& other) const {
  if (other.kind == Flight::Kind::kNone || other.kind == Flight::Kind::kMark || other.toward != mark.toward)
    return false;
  if (other.number > mark.number || (other.far && !mark.far)) return false;
  if (other.agent != mark.agent) return other.far && other.number <= mark.run;
  return other.far || (mark.release && (!other.streamed || other.fenced));
}

void Flights::finish_covered(uint32_t id) {
  const auto of = [&](uint32_t agent) {
    // To finish one may finish others, whose stores it reads.
    const std::vector<uint32_t> pending = agents_[agent].pending;
    for (const uint32_t other : pending)
      if (covered(flights_[id], flights_[other])) finish(other);
  };
  if (!flights_[id].far) return of(flights_[id].agent);
  for (const uint32_t agent : regions_[agents_[flights_[id].agent].name.region].agents)
    if (!agents_[agent].pending.empty()) of(agent);
}

// Older counts of the same word are merged into this one.
void Flights::merge_older(uint32_t id, uint32_t agent) {
  const Flight& f = flights_[id];
  const std::vector<uint32_t>& pending = agents_[agent].pending;
  for (size_t i = 0; i < pending.size();) {
    const Flight& o = flights_[pending[i]];
    if (o.kind == Flight::Kind::kMark && o.to == f.to && o.number < f.number)
      end(pending[i]);
    else
      ++i;
  }
}

// False: the word is already further.
bool Flights::supersede(uint32_t id) {
  Flight& f = flights_[id];
  if (f.far)
    for (const uint32_t agent : regions_[agents_[f.agent].name.region].agents) merge_older(id, agent);
  else
    merge_older(id, f.agent);
  const Word now = load(reinterpret_cast<Word*>(f.to));
  if (f.live != nullptr) f.count = *f.live;
  if (f.count >= now || f.torn) return true;
  if (!f.far)
    break_rule(Checker::kGrowth, f.agent, f.to,
               "a word falls from " + std::to_string(now) + " to " + std::to_string(f.count));
  return false;
}

void Flights::land_mark(uint32_t id, bool whole) {
  finish_covered(id);
  const bool lands = supersede(id);
  Flight& f = flights_[id];
  Word* const word = reinterpret_cast<Word*>(f.to);
  if (!lands) return end(id);
  const uint32_t agent = f.agent;
  Cell* const cell = space_.holds(word) ? space_.cell(word) : nullptr;
  const Word now = load(word);
  Word next = f.count;
  if (!whole && !f.torn && chance_.in_256(setup_.manners.torn)) {
    const Word low = (Word(1) << 8 * (1 + chance_.below(4))) - 1;
    next = (now & ~low) | (f.count & low);
    f.torn = next != f.count;
    if (f.torn) record(Happened::kTorn, agent, word, {id, next});
  }
  std::memcpy(word, &next, sizeof next);
  if (cell != nullptr) cell->landed = ++landings_;
  if (next != f.count) return;
  record(Happened::kCounted, agent, word, {id, next});
  const uint32_t toward = f.toward;
  end(id);
  setup_.watcher->landed_word(toward, word);
}

// On an ordered network nothing passes what was sent before it over the same link.
uint32_t Flights::first_of_link(uint32_t id) const {
  const Flight& f = flights_[id];
  if (!f.far || !setup_.wire->ordered()) return id;
  uint32_t first = id;
  for (const uint32_t agent : regions_[agents_[f.agent].name.region].agents)
    for (const uint32_t other : agents_[agent].pending) {
      const Flight& o = flights_[other];
      if (o.far && o.toward == f.toward && o.number < flights_[first].number) first = other;
    }
  return first;
}

void Flights::land(uint32_t i) {
  const uint32_t id = first_of_link(landable_[i]);
  Flight& f = flights_[id];
  if (f.kind == Flight::Kind::kMark) return land_mark(id, setup_.whole);
  if (!f.captured && !setup_.whole && chance_.in_256(setup_.manners.capture)) return capture(id);
  if (landed_whole(f)) return complete(id);
  if (f.kind == Flight::Kind::kPut && !f.complete && !setup_.whole && chance_.in_256(setup_.manners.capture))
    return complete(id);
  uint32_t open = 0;
  for (uint32_t p = 0; p < f.pieces; ++p) open += (f.landed_pieces >> p & 1) == 0;
  uint32_t pick = open > 1 ? chance_.below(open) : 0;
  for (uint32_t p = 0; p < f.pieces; ++p)
    if ((f.landed_pieces >> p & 1) == 0 && pick-- == 0) return land_piece(id, p);
}

void Flights::end(uint32_t id) {
  unlist(id);
  Flight& f = flights_[id];
  std::vector<uint32_t>& pending = agents_[f.agent].pending;
  pending.erase(std::find(pending.begin(), pending.end(), id));
  f.kind = Flight::Kind::kNone;
  --live_;
  free_.push_back(id);
}

// Each agent's flights end at some point in its program order: no count from behind it lands, and of the rest behind it
// only some.
void Flights::lose(uint32_t region, Chance& chance) {
  if (region >= regions_.size()) return;
  for (const uint32_t agent : regions_[region].agents) {
    const std::vector<uint32_t> pending = agents_[agent].pending;
    // Its private memory goes with it: nothing is read from there any more, and nothing lands there.
    for (const uint32_t id : pending) {
      const Flight& f = flights_[id];
      if (f.kind != Flight::Kind::kMove && f.kind != Flight::Kind::kSum) continue;
      if (f.toward == kNobody)
        drop(id);
      else if (!f.captured)
        capture(id);
    }
    const size_t kept = pending.empty() ? 0 : chance.below(uint32_t(pending.size()) + 1);
    for (size_t i = kept; i < pending.size(); ++i) {
      const uint32_t id = pending[i];
      Flight& f = flights_[id];
      if (f.kind == Flight::Kind::kNone) continue;
      if (f.kind != Flight::Kind::kMark && chance.in_256(128)) continue;  // it still lands, some time
      drop(id);
    }
  }
}

void Flights::drop(uint32_t id) {
  if (flights_[id].kind == Flight::Kind::kPut && !flights_[id].complete) {
    complete(id);
    if (flights_[id].kind == Flight::Kind::kNone) return;
  }
  if (!flights_[id].captured && flights_[id].kind != Flight::Kind::kMark) capture(id);
  const Flight& f = flights_[id];
  if (f.shadowed) {
    Cell* const cells = space_.cell(f.to);
    for (size_t i = 0, n = Space::cells(f.to, f.bytes); i < n; ++i)
      if (cells[i].writer == id) cells[i].writer = 0;
  }
  end(id);
}

uint32_t Flights::busy_with(uint32_t region) const {
  if (uncaptured_puts(region) == 0) return kNobody;
  for (const uint32_t agent : regions_[region].agents)
    for (const uint32_t id : agents_[agent].pending)
      if (flights_[id].kind == Flight::Kind::kPut && !flights_[id].complete) return flights_[id].toward;
  return kNobody;
}

std::string Flights::text(uint32_t id) const {
  const Flight& f = flights_[id];
  const AgentName& n = agents_[f.agent].name;
  const char* const kinds[] = {"nothing", "a store", "a sum", "a put", "a count"};
  return std::string(kinds[int(f.kind)]) + " of rank " + std::to_string(n.rank) + " (" + std::to_string(f.bytes) +
         " bytes, event " + std::to_string(f.event) + ")";
}

}  // namespace transload
