// Writing a state down so that equal states read alike.
#include "sim/walks/state_print.h"

#include <algorithm>
#include <cstring>

namespace transload {
namespace {

void order(std::vector<uint32_t>& numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
}

uint32_t count_upto(const std::vector<uint32_t>& numbers, uint32_t number) {
  return uint32_t(std::upper_bound(numbers.begin(), numbers.end(), number) - numbers.begin());
}

uint64_t address(const void* at) { return reinterpret_cast<uintptr_t>(at); }

}  // namespace

void StatePrint::mix(Print& p, const std::vector<size_t>& bytes, const std::vector<bool>& is_word) {
  agents_ = m_.agents_used_;
  regions_ = uint32_t(bytes.size());
  collect(bytes, is_word);
  flights(p);
  order_of_far_counts(p);
  memory(p, bytes, is_word);
  knowledge(p);
}

// The list that has the number of the store whose bytes a cell holds.
StatePrint::StoreNumbers& StatePrint::numbers(uint32_t by, uint32_t region) {
  if ((by & Flights::kHost) != 0) return hosts_[region];
  const uint32_t who = by & Flights::kWho;
  Stores& of = stores((by & Flights::kCount) != 0 ? m_.counted_[who].agent : who, region);
  return (by & Flights::kStreamed) != 0 ? of.streamed : of.plain;
}

void StatePrint::collect(const std::vector<size_t>& bytes, const std::vector<bool>& is_word) {
  stores_.resize(size_t(agents_) * regions_);
  for (Stores& s : stores_) {
    s.plain.clear();
    s.streamed.clear();
  }
  hosts_.resize(regions_);
  for (uint32_t r = 0; r < regions_; ++r) {
    hosts_[r].clear();
    const size_t first = r * space_.stride() / kCellBytes;
    const Cell* const cells = space_.cell(space_.region(r));
    for (size_t i = 0, n = bytes[r] / kCellBytes; i < n; ++i) {
      if (cells[i].landed == 0 || is_word[first + i]) continue;
      StoreNumbers& to = numbers(cells[i].by, r);
      if (to.empty() || to.back() != cells[i].landed) to.push_back(cells[i].landed);
    }
    order(hosts_[r]);
  }
  for (uint32_t agent = 0; agent < agents_; ++agent)
    for (const uint32_t id : m_.pending(agent)) {
      const Flight& f = m_.flight(id);
      if (f.kind == Flight::Type::kMark || f.toward >= regions_) continue;
      Stores& of = stores(agent, f.toward);
      (f.streamed ? of.streamed : of.plain).push_back(f.number);
    }
  for (Stores& s : stores_) {
    order(s.plain);
    order(s.streamed);
  }
}

StatePrint::Reach StatePrint::reach(uint32_t agent, uint32_t region, const Most& upto) const {
  const Stores& s = stores_[agent * regions_ + region];
  return {count_upto(s.plain, upto.plain), count_upto(s.streamed, upto.streamed)};
}

void StatePrint::reached(Print& p, uint32_t agent, uint32_t region, const Most& upto) const {
  const Reach r = reach(agent, region, upto);
  p.mix(uint64_t(r.plain) << 32 | r.streamed);
}

// Prints how many stores of a rank to this region have numbers up to `number`.
void StatePrint::run(Print& p, uint32_t rank, uint32_t region, uint32_t number) const {
  for (const uint32_t agent : m_.regions_[rank].agents) reached(p, agent, region, {number, number});
  if (rank == region) p.mix(count_upto(hosts_[rank], number));
}

// Prints how far `list` reaches: whoever hears of the list learns the largest number that it has of each agent.
void StatePrint::arrived(Print& p, const std::vector<Arrived>& list, uint32_t region) {
  p.mix(!list.empty());
  if (list.empty()) return;
  settled_.assign(agents_, 0);
  for (const Arrived& a : list) settled_[a.agent] = std::max(settled_[a.agent], a.settled);
  for (uint32_t agent = 0; agent < agents_; ++agent) reached(p, agent, region, {settled_[agent], settled_[agent]});
}

void StatePrint::flights(Print& p) {
  names_.clear();
  for (uint32_t agent = 0; agent < agents_; ++agent) {
    const std::vector<uint32_t>& pending = m_.pending(agent);
    p.mix(pending.size());
    for (uint32_t i = 0; i < pending.size(); ++i) {
      if (names_.size() <= pending[i]) names_.resize(pending[i] + 1);
      names_[pending[i]] = uint64_t(agent + 1) << 32 | (i + 1);
      flight(p, m_.flight(pending[i]));
    }
  }
}

void StatePrint::flight(Print& p, const Flight& f) {
  p.mix(uint64_t(f.kind) << 56 | uint64_t(f.landed_pieces) << 8 | uint64_t(f.after_own) << 6 |
        uint64_t(f.complete) << 5 | uint64_t(f.streamed) << 4 | uint64_t(f.release) << 3 | uint64_t(f.far) << 2 |
        uint64_t(f.captured) << 1 | uint64_t(f.live != nullptr));
  p.mix(address(f.to));
  p.mix(f.bytes);
  if (f.kind == Flight::Type::kMark) return mark(p, f);
  p.mix(address(f.from));
  p.mix(address(f.drained));
  p.mix(f.drained_count);
  if (f.kind == Flight::Type::kSum)
    for (const char* const row : f.sum.rows) p.mix(address(row));
  if (!f.captured) return;
  for (size_t at = 0; at < f.bytes; at += sizeof(Word)) {
    Word word = 0;
    std::memcpy(&word, f.copy.data() + at, std::min(sizeof(Word), f.bytes - at));
    p.mix(word);
  }
  for (const uint32_t cell : f.unwritten) p.mix(cell);
}

void StatePrint::mark(Print& p, const Flight& f) {
  p.mix(address(f.live));
  p.mix(f.live != nullptr ? *f.live : f.count);
  run(p, home(f.agent), f.toward, f.run);
  reached(p, f.agent, f.toward, {f.covers.plain, f.covers.streamed});
  arrived(p, f.speaks_for, f.toward);
}

// The order matters because a later count of a word replaces earlier ones of its rank, whichever warp gave them.
void StatePrint::order_of_far_counts(Print& p) const {
  std::vector<uint32_t> far;
  for (uint32_t r = 0; r < regions_; ++r) {
    far.clear();
    for (const uint32_t agent : m_.regions_[r].agents)
      for (const uint32_t id : m_.pending(agent))
        if (m_.flight(id).far && m_.flight(id).kind == Flight::Type::kMark) far.push_back(id);
    std::sort(far.begin(), far.end(),
              [&](uint32_t x, uint32_t y) { return m_.flight(x).number < m_.flight(y).number; });
    for (const uint32_t id : far) p.mix(names_[id]);
    p.mix(r);
  }
}

void StatePrint::memory(Print& p, const std::vector<size_t>& bytes, const std::vector<bool>& is_word) {
  for (uint32_t r = 0; r < regions_; ++r) {
    const char* const base = space_.region(r);
    for (size_t at = 0; at < bytes[r]; at += kCellBytes) {
      uint32_t bits;
      static_assert(sizeof bits == kCellBytes);
      std::memcpy(&bits, base + at, sizeof bits);
      const Cell& c = *space_.cell(base + at);
      if (bits == 0 && c.landed == 0 && c.writer == 0 && c.readers == 0) continue;
      p.mix(uint64_t(r) << 32 | at);
      p.mix(bits);
      p.mix(c.writer != 0 ? names_[c.writer] : 0);
      cell(p, c, r, is_word[space_.offset(base + at) / kCellBytes]);
    }
  }
}

// Prints which store a cell holds, or for a word what its observer learns.
void StatePrint::cell(Print& p, const Cell& c, uint32_t region, bool is_word) {
  const bool counted = (c.by & Flights::kCount) != 0;
  p.mix(uint64_t(c.readers) << 3 | uint64_t(counted) << 2 | uint64_t(is_word) << 1 | uint64_t(c.landed != 0));
  if (counted) {
    const Flights::CountedWord& count = m_.counted_[c.by & Flights::kWho];
    p.mix(count.agent);
    run(p, home(count.agent), region, count.run);
    reached(p, count.agent, region, {count.covers.plain, count.covers.streamed});
    arrived(p, count.speaks_for, region);
  } else if (c.landed != 0 && !is_word) {
    p.mix(uint64_t(c.by) << 32 | count_upto(numbers(c.by, region), c.landed));
  }
}

// How far the stores of agent `who` are known.
StatePrint::Most StatePrint::told(const Knowledge& knows, uint32_t who, bool engine) const {
  Most most;
  if (const Told* const t = knows.of(who, engine); t != nullptr) most = {t->plain, t->streamed};
  if (const Told* const t = knows.of(Flights::kHost | home(who), engine); t != nullptr)
    most = {std::max(most.plain, t->plain), std::max(most.streamed, t->plain)};
  return most;
}

void StatePrint::knowledge(Print& p) {
  for (uint32_t r = 0; r < regions_; ++r) {
    const Flights::TrackedRegion& region = m_.regions_[r];
    for (uint32_t to = 0; to < regions_; ++to) {
      run(p, r, to, region.run);
      arrived(p, region.arrived, to);
    }
    for (uint32_t who = 0; who < agents_; ++who) {
      Most anyway = told(region.knows, who, false);
      if (home(who) == r) anyway = {std::max(anyway.plain, region.run), std::max(anyway.streamed, region.run)};
      const Reach known = reach(who, r, anyway);
      p.mix(uint64_t(known.plain) << 32 | known.streamed);
      for (const uint32_t agent : region.agents) {
        if (who == agent) continue;
        for (const bool engine : {false, true}) {
          const Reach more = reach(who, r, told(m_.agents_[agent].knows, who, engine));
          p.mix(uint64_t(more.plain > known.plain ? more.plain : 0) << 32 |
                (more.streamed > known.streamed ? more.streamed : 0));
        }
      }
    }
  }
  for (uint32_t agent = 0; agent < agents_; ++agent) {
    const Flights::Agent& a = m_.agents_[agent];
    for (uint32_t to = 0; to < regions_; ++to) {
      p.mix(reach(agent, to, {0, a.fenced}).streamed);
      reached(p, agent, to, {a.settled, a.settled});
      arrived(p, a.speaks_for, to);
    }
  }
}

}  // namespace transload
