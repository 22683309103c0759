// Rings over a link. One thread of each rank serves the rank's ends of all rings.
#include "cli/link/rows.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/mix.h"
#include "cli/link/said.h"

namespace transload::cli {
namespace {

// Rows differ in every word, so a row of an earlier round of the ring does not pass for the one that is expected.
uint64_t row_seed(uint32_t sender, uint32_t ring, Word number) { return mixed(sender, ring, number); }

void make_row(char* at, uint64_t bytes, uint64_t seed) {
  for (uint64_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    const uint64_t value = split_mix(seed + i);
    std::memcpy(at + i, &value, sizeof value);
  }
}

bool is_row(const char* at, uint64_t bytes, uint64_t seed) {
  for (uint64_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    uint64_t value = 0;
    std::memcpy(&value, at + i, sizeof value);
    if (value != split_mix(seed + i)) return false;
  }
  return true;
}

}  // namespace

Word seen_at(char* region, uint64_t offset) { return std::atomic_ref<Word>(*word_at(region, offset)).load(); }

RowTraffic::RowTraffic(LinkEnds& ends, ScaleOut& link, char* region, LinkPlace place)
    : ends_(ends), link_(link), region_(region), place_(place) {}

std::string RowTraffic::lost() {
  LostPeer peer;
  return link_.lost(peer) ? peer.reason : "";
}

PassResult RowTraffic::pass(Pass pass, uint64_t row_bytes, uint64_t rows) {
  PassResult out;
  out.rows = rows;
  for (uint32_t r = 0; r < LinkPlace::kRings; ++r) {
    rings_[r].begin = rings_[r].sent;
    rings_[r].sent_end = rings_[r].sent + rows / LinkPlace::kRings + (r < rows % LinkPlace::kRings);
  }
  ends_.gather("");
  const uint64_t begin = now_ns();
  ends_.await(*this, {"rows and credits of", 2 * rows + 1}, [&] {
    const Word done = turn(pass, row_bytes, out);
    return done + (done == 2 * rows && link_.quiet());
  });
  out.ns = now_ns() - begin;
  return out;
}

// Sends and takes what it can. Returns how many rows have come, plus how many of mine have been taken, in this pass.
Word RowTraffic::turn(Pass pass, uint64_t row_bytes, PassResult& out) {
  Word done = 0;
  for (uint32_t r = 0; r < LinkPlace::kRings; ++r) {
    send(pass, r, row_bytes);
    take(pass, r, row_bytes, out);
    done += rings_[r].taken - rings_[r].begin + credit(r) - rings_[r].begin;
  }
  return done;
}

// How many of my rows the other end has taken.
Word RowTraffic::credit(uint32_t r) const {
  return bounded_count(ends_.other, "rows taken", seen_at(region_, place_.credit(r)), rings_[r].sent);
}

void RowTraffic::send(Pass pass, uint32_t r, uint64_t row_bytes) {
  LinkRing& ring = rings_[r];
  for (;;) {
    const Word free = std::min(credit(r), seen_at(region_, place_.drained(r)));
    const uint64_t slot = ring.sent % LinkPlace::kSlots;
    const uint64_t count =
        std::min({uint64_t(LinkPlace::kJoined), ring.sent_end - ring.sent, LinkPlace::kSlots - slot});
    if (count == 0 || ring.sent + count > free + LinkPlace::kSlots) return;
    char* const from = region_ + place_.sent(r, slot, row_bytes);
    for (uint64_t i = 0; i < count && pass != Pass::kTimed; ++i)
      make_row(from + i * row_bytes, row_bytes, row_seed(ends_.rank, r, ring.sent + i));
    ring.sent += count;
    link_.put({.from = from,
               .offset = place_.received(r, slot, row_bytes),
               .bytes = (count - (pass == Pass::kSpoiled)) * row_bytes,
               .rank = ends_.other,
               .drained = word_at(region_, place_.drained(r)),
               .drained_count = ring.sent});
    link_.publish({place_.tail(r), ends_.other}, ring.sent);
  }
}

void RowTraffic::take(Pass pass, uint32_t r, uint64_t row_bytes, PassResult& out) {
  LinkRing& ring = rings_[r];
  const Word tail =
      bounded_count(ends_.other, "rows put", seen_at(region_, place_.tail(r)), ring.taken + LinkPlace::kSlots);
  if (tail == ring.taken) return;
  for (; ring.taken < tail; ++ring.taken) {
    const char* const at = region_ + place_.received(r, ring.taken % LinkPlace::kSlots, row_bytes);
    if (pass == Pass::kTimed || is_row(at, row_bytes, row_seed(ends_.other, r, ring.taken))) continue;
    if (out.wrong++ == 0)
      out.first_wrong = "row " + std::to_string(ring.taken - ring.begin) + " of ring " + std::to_string(r) +
                        ", from rank " + std::to_string(ends_.other) + " to rank " + std::to_string(ends_.rank);
  }
  const RailWord credit{place_.credit(r), ends_.other};
  // The last credit goes as a count, which quiet() waits for: nobody moves the link on between passes.
  if (ring.taken == ring.sent_end)
    link_.publish(credit, ring.taken);
  else
    link_.credit(credit, ring.taken);
}

Word RowTraffic::falls(uint32_t counts) {
  const Word last = pings_ + counts;
  Word seen = pings_, falls = 0;
  ends_.gather("");
  ends_.await(*this, {"the last of many counts of", last + 1}, [&] {
    if (pings_ < last) link_.publish({place_.ping(), ends_.other}, ++pings_);
    const Word now = seen_at(region_, place_.ping());
    falls += now < seen;
    seen = now;
    return now + (now == last && pings_ == last && link_.quiet());
  });
  return falls;
}

uint64_t RowTraffic::counts(uint32_t rounds) {
  const bool first = ends_.rank < ends_.other;
  ends_.gather("");
  const uint64_t begin = now_ns();
  for (uint32_t i = 0; i < rounds; ++i) {
    ++pings_;
    if (first) link_.publish({place_.ping(), ends_.other}, pings_);
    ends_.await(*this, {"a count of", pings_}, [&] { return seen_at(region_, place_.ping()); });
    if (!first) link_.publish({place_.ping(), ends_.other}, pings_);
  }
  ends_.await(*this, {"the last count to reach", 1}, [&] { return Word(link_.quiet()); });
  return now_ns() - begin;
}

}  // namespace transload::cli
