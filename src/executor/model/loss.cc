// What a rank had on its way when it died.
#include "executor/model/flight.h"

namespace transload {

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

}  // namespace transload
