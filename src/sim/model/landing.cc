// How flights land: see flight.h.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "sim/model/flight.h"

namespace transload {
namespace {

constexpr uint64_t kCellMask = ~uint64_t(kCellBytes - 1);

// Where piece i of n begins, a multiple of a cell's size from the start of the flight.
size_t cut(size_t bytes, uint32_t i, uint32_t n) { return i == n ? bytes : bytes * i / n & kCellMask; }

}  // namespace

// Reads the whole source.
void Flights::capture(uint32_t id) {
  flights_[id].captured = true;
  record(Happened::kCaptured, flights_[id].agent, {flights_[id].from, id, flights_[id].number});
  if (flights_[id].kind == Flight::Type::kSum) return add_up(id);
  finish_own(id, flights_[id].from, flights_[id].bytes);
  Flight& f = flights_[id];
  f.copy.assign(f.from, f.from + f.bytes);
  if (f.kind != Flight::Type::kPut) return free_source(id, f.from, f.bytes);
  if (!space_.holds(f.from)) return;
  const Cell* const cells = space_.cell(f.from);
  for (uint32_t i = 0, n = uint32_t(Space::cells(f.from, f.bytes)); i < n; ++i)
    if (cells[i].landed == 0) f.unwritten.push_back(i);
}

// The network needs the source of a put no more. A drained word shows that only once all earlier puts with the same
// word are complete too, whichever warp asked for them.
void Flights::complete(uint32_t id) {
  if (!flights_[id].captured) capture(id);
  Flight& f = flights_[id];
  f.complete = true;
  record(Happened::kDrained, f.agent, {f.from, id, f.drained_count});
  free_source(id, f.from, f.bytes);
  --regions_[agents_[f.agent].name.region].uncaptured;
  const uint32_t agent = f.agent;
  if (f.drained != nullptr) show_drained(id);
  if (over(flights_[id])) end(id);
  setup_.watcher->captured_put(agent);
}

void Flights::show_drained(uint32_t id) {
  const FlightState f = flights_[id];
  const uint32_t region = agents_[f.agent].name.region;
  const auto of = [&](uint32_t agent) {
    each_pending(agent, [&](uint32_t other) {
      const Flight& o = flights_[other];
      if (o.kind == Flight::Type::kPut && o.drained == f.drained && o.number < f.number && !o.complete) complete(other);
    });
  };
  if (setup_.rails == RailMode::kNetwork)
    of(f.agent);  // puts of earlier calls are complete, and in this call no other warp has this word
  else
    for (const uint32_t agent : regions_[region].agents) of(agent);
  if (f.reader != f.agent)
    mark(asked_by(f.reader), {.word = f.drained,
                              .count = f.drained_count,
                              .region = region,
                              .release = true,
                              .far = false,
                              .at_home = true});
  else if (*f.drained < f.drained_count)
    *f.drained = f.drained_count;
}

void Flights::add_up(uint32_t id) {
  Flight& f = flights_[id];
  simd::SumJob job = f.sum.job;
  f.copy.resize(f.bytes);
  const char* const* rows = f.sum.rows.data();
  job.before.at = rows;
  job.here.at = rows + job.before.count;
  job.after.at = rows + job.before.count + job.here.count;
  job.into = f.copy.data();
  job.streamed = false;
  each_row(f, [&](const char* row, size_t bytes) {
    finish_own(id, row, bytes);
    free_source(id, row, bytes);
  });
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
    const uint32_t by = f.agent | (f.streamed ? kStreamed : 0);
    for (size_t i = 0, n = Space::cells(f.to + begin, end - begin); i < n; ++i) {
      if (cells[i].writer == id && !f.again) cells[i].writer = 0;
      cells[i].landed = f.number;
      cells[i].by = by;
    }
    const uint32_t first = uint32_t(begin / kCellBytes), last = uint32_t((end + kCellBytes - 1) / kCellBytes);
    for (const uint32_t at : f.unwritten)
      if (at >= first && at < last) space_.cell(f.to)[at].landed = 0;
  }
  record(Happened::kLanded, f.agent, {f.to + begin, id, end - begin});
}

void Flights::finish(uint32_t id) {
  const uint32_t pieces = flights_[id].pieces;
  for (uint32_t p = 0; p < pieces; ++p)
    if ((flights_[id].landed_pieces >> p & 1) == 0) land_piece(id, p);
  if (!freed_by_count(flights_[id])) return leave_again(id);
  flights_[id].again = false;
  leave_target(id);
  complete(id);
}

// A flight that could land once more no longer can.
void Flights::leave_again(uint32_t id) {
  if (flights_[id].again) leave_target(id);
  flights_[id].again = false;
  if (over(flights_[id])) end(id);
}

void Flights::leave_target(uint32_t id) {
  const Flight& f = flights_[id];
  if (!f.shadowed) return;
  Cell* const cells = space_.cell(f.to);
  for (size_t i = 0, n = Space::cells(f.to, f.bytes); i < n; ++i)
    if (cells[i].writer == id) cells[i].writer = 0;
}

// True if this count covers that flight, which then has to land first. Puts of other warps of the rank in earlier runs
// are covered too: a ring belongs to its channel, which another warp may serve in each call. A flight of another queue
// is not.
bool Flights::covered(const Flight& mark, const Flight& other) const {
  if (other.kind == Flight::Type::kNone || other.kind == Flight::Type::kMark || other.toward != mark.toward)
    return false;
  if (other.number > mark.number || (other.far && !mark.far) || other.queue != mark.queue) return false;
  if (other.agent != mark.agent) return other.far && other.runs < mark.runs;
  return other.far || (mark.release && (!other.streamed || other.number <= mark.covers.streamed));
}

void Flights::finish_covered(uint32_t id) {
  const auto of = [&](uint32_t agent) {
    each_pending(agent, [&](uint32_t other) {
      const Flight& o = flights_[other];
      if (covered(flights_[id], o) && (!landed_whole(o) || o.again || freed_by_count(o))) finish(other);
    });
  };
  if (!flights_[id].far) return of(flights_[id].agent);
  for (const uint32_t agent : regions_[agents_[flights_[id].agent].name.region].agents)
    if (!agents_[agent].pending.empty()) of(agent);
}

// Older counts for the same word end without landing, since this one says more.
void Flights::merge_older(uint32_t id, uint32_t agent) {
  const Flight& f = flights_[id];
  const std::vector<uint32_t>& pending = agents_[agent].pending;
  for (size_t i = 0; i < pending.size();) {
    const Flight& o = flights_[pending[i]];
    if (o.kind == Flight::Type::kMark && o.to == f.to && o.number < f.number && o.queue == f.queue)
      end(pending[i]);
    else
      ++i;
  }
}

// Older counts of the queue that add up land before this one: a queue keeps their order, and loses none.
void Flights::add_older(uint32_t id) {
  const FlightState f = flights_[id];
  for (const uint32_t agent : regions_[agents_[f.agent].name.region].agents)
    each_pending(agent, [&](uint32_t other) {
      const Flight& o = flights_[other];
      if (o.kind == Flight::Type::kMark && o.toward == f.toward && o.number < f.number && o.queue == f.queue && o.adds)
        land_mark(other, true);
    });
}

// True if this count is to land; false if the word already says more.
bool Flights::supersede(uint32_t id) {
  if (flights_[id].command) return true;
  if (flights_[id].adds) add_older(id);
  Flight& f = flights_[id];
  Word* const word = reinterpret_cast<Word*>(f.to);
  if (f.adds) {
    if (!f.torn) f.count = word_at(word) + f.added;
    return true;
  }
  if (f.far)
    for (const uint32_t agent : regions_[agents_[f.agent].name.region].agents) merge_older(id, agent);
  else
    merge_older(id, f.agent);
  const Word now = word_at(word);
  if (f.live != nullptr) f.count = *f.live;
  if (f.count >= now || f.torn) return true;
  if (!f.far || setup_.rails == RailMode::kQueues)
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
  const Word now = word_at(word);
  Word next = f.count;
  if (!whole && !f.torn && chance_.in_256(setup_.manners.torn)) {
    const Word low = (Word(1) << 8 * (1 + chance_.below(sizeof(Word) - 1))) - 1;
    next = (now & ~low) | (f.count & low);
    f.torn = next != f.count;
    if (f.torn) record(Happened::kTorn, agent, {word, id, next});
  }
  std::memcpy(word, &next, sizeof next);
  if (cell != nullptr) landed_count(id, *cell);
  if (next != f.count) return;
  record(Happened::kCounted, agent, {word, id, next});
  const uint32_t toward = f.toward;
  const bool command = f.command;
  end(id);
  if (command) return setup_.watcher->landed_command(toward);
  setup_.watcher->landed_word(toward, word);
}

// Whoever observes the word learns what the count covers. A count within the node without release tells nothing.
void Flights::landed_count(uint32_t id, Cell& cell) {
  const Flight& f = flights_[id];
  cell.landed = f.number;
  if (!f.release && !f.far) return;
  if ((cell.by & kCount) == 0) {
    if (counted_used_ == counted_.size()) counted_.emplace_back();
    cell.by = kCount | counted_used_++;
  }
  CountedWord& counted = counted_[cell.by & kWho];
  counted.agent = f.agent;
  counted.run = f.run;
  counted.covers = f.covers;
  counted.speaks_for = f.speaks_for;
}

// Returns the flight that lands in place of this one: on an ordered network the first that goes over the same link.
uint32_t Flights::first_of_link(uint32_t id) const {
  const Flight& f = flights_[id];
  if (!f.far || !setup_.wire->ordered()) return id;
  uint32_t first = id;
  for (const uint32_t agent : regions_[agents_[f.agent].name.region].agents)
    for (const uint32_t other : agents_[agent].pending) {
      const Flight& o = flights_[other];
      if (o.far && o.toward == f.toward && o.queue == f.queue && o.number < flights_[first].number && !landed_whole(o))
        first = other;
    }
  return first;
}

void Flights::land(uint32_t i) {
  const uint32_t id = first_of_link(landable_[i]);
  const Flight& f = flights_[id];
  if (f.kind == Flight::Type::kMark) return land_mark(id, setup_.whole);
  if (!f.captured && !setup_.whole && chance_.in_256(setup_.manners.capture)) return capture(id);
  if (landed_whole(f)) {
    if (!f.again) return complete(id);
    land_piece(id, chance_.below(f.pieces));
    return leave_again(id);
  }
  if (f.kind == Flight::Type::kPut && !f.complete && !setup_.whole && chance_.in_256(setup_.manners.capture))
    return complete(id);
  uint32_t open = 0;
  for (uint32_t p = 0; p < f.pieces; ++p) open += (f.landed_pieces >> p & 1) == 0;
  uint32_t pick = open > 1 ? chance_.below(open) : 0, piece = 0;
  while ((f.landed_pieces >> piece & 1) != 0 || pick-- != 0) ++piece;
  land_piece(id, piece);
  if (over(flights_[id])) end(id);
}

void Flights::end(uint32_t id) {
  unlist(id);
  Flight& f = flights_[id];
  std::vector<uint32_t>& pending = agents_[f.agent].pending;
  pending.erase(std::find(pending.begin(), pending.end(), id));
  f.kind = Flight::Type::kNone;
  --live_;
  free_.push_back(id);
}

// Each agent dies at some point of its program order. Of its flights that began after that point no count lands, and
// only some of the others do.
void Flights::lose(uint32_t region, Chance& chance) {
  if (region >= regions_.size()) return;
  for (const uint32_t agent : regions_[region].agents) {
    const std::vector<uint32_t> pending = agents_[agent].pending;
    // The private memory of the agent's process is gone, so nothing is read from that memory or lands in it any more.
    for (const uint32_t id : pending) let_go(id);
    const size_t kept = pending.empty() ? 0 : chance.below(uint32_t(pending.size()) + 1);
    for (size_t i = kept; i < pending.size(); ++i) {
      const uint32_t id = pending[i];
      const Flight& f = flights_[id];
      if (f.kind == Flight::Type::kNone) continue;
      const bool lands = f.kind != Flight::Type::kMark && chance.in_256(128);
      if (!lands) drop(id);
    }
  }
}

void Flights::let_go(uint32_t id) {
  const Flight& f = flights_[id];
  if (f.kind == Flight::Type::kNone || f.kind == Flight::Type::kMark) return;
  if (f.kind == Flight::Type::kPut && !f.complete)
    complete(id);
  else if (!f.captured)
    capture(id);
  if (f.kind != Flight::Type::kNone && f.toward == kNobody) end(id);
}

void Flights::drop(uint32_t id) {
  leave_target(id);
  end(id);
}

uint32_t Flights::busy_with(uint32_t region) const {
  if (uncaptured_puts(region) == 0) return kNobody;
  for (const uint32_t agent : regions_[region].agents)
    for (const uint32_t id : agents_[agent].pending)
      if (flights_[id].kind == Flight::Type::kPut && !flights_[id].complete) return flights_[id].toward;
  return kNobody;
}

std::string Flights::text(uint32_t id) const {
  const Flight& f = flights_[id];
  const AgentName& n = agents_[f.agent].name;
  const char* const kinds[] = {"nothing", "a store", "a sum", "a put", "a count"};
  static_assert(std::size(kinds) == size_t(Flight::Type::kCount));
  return std::string(kinds[int(f.kind)]) + " of rank " + std::to_string(n.rank) + " (" + std::to_string(f.bytes) +
         " bytes, event " + std::to_string(f.event) + ")";
}

}  // namespace transload
