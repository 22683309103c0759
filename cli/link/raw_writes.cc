// Raw writes between the two ends of a link: see raw_writes.h.
#include "cli/link/raw_writes.h"

#include <algorithm>

#include "cli/link/raw_end.h"

namespace transload::cli {

namespace {

constexpr uint32_t kOutMost = LinkPlace::kRings * LinkPlace::kSlots / LinkPlace::kJoined;  // all that rings hold

}  // namespace

struct RawWrites::Impl {
  Impl(LinkEnds& given, const std::string& provider, LinkPlace rings)
      : ends(given), place(rings), memory(place.bytes() / kWordBytes + 1), end(options(provider), kOutMost) {}

  char* region() { return reinterpret_cast<char*>(memory.data()); }
  LibfabricOptions options(const std::string& provider) {
    return {.rank = ends.rank,
            .ranks = ends.ranks,
            .provider = provider,
            .source_address = ends.address(),
            .region = region(),
            .region_bytes = place.bytes()};
  }
  void connect();
  bool write(uint64_t from, uint64_t to, uint64_t bytes) { return end.write(from, to, bytes); }
  void tell();
  // What LinkEnds::await needs of a network: these four functions.
  bool progress() { return end.progress(); }
  bool may_sleep() { return end.may_sleep(); }
  int wait_fd() const { return end.wait_fd(); }
  std::string lost() const { return end.broken(); }

  LinkEnds& ends;
  const LinkPlace place;
  std::vector<WordLine> memory;
  RawEnd end;
  Word told = 0;
};

void RawWrites::Impl::connect() {
  const auto all = ends.gather(end.said().pack());
  ends.all_or_none([&] { end.reach(ends.other, RawMemorySaid::unpack(ends.other, all[ends.other])); });
}

// Sends a count once all writes of this end are complete, and waits for the count of the other end. So on return all
// that both ends wrote has come.
void RawWrites::Impl::tell() {
  *word_at(region(), place.credit(0)) = ++told;
  bool gone = false;
  ends.await(*this, {"the last raw write of", 1}, [&] {
    const bool idle = end.idle();
    if (idle && !gone) gone = write(place.credit(0), place.tail(0), sizeof(Word));
    return Word(gone && idle && seen_at(region(), place.tail(0)) >= told);
  });
}

RawWrites::RawWrites(LinkEnds& ends, const std::string& provider, LinkPlace place) {
  ends.all_or_none([&] { impl_ = std::make_unique<Impl>(ends, provider, place); });
  impl_->connect();
}

RawWrites::~RawWrites() = default;

uint64_t RawWrites::rows(uint64_t row_bytes, uint64_t rows) {
  Impl& raw = *impl_;
  uint64_t left = rows;
  uint32_t put = 0;
  raw.ends.gather("");
  const uint64_t begin = now_ns();
  raw.ends.await(raw, {"room for raw writes to", rows}, [&] {
    while (left > 0) {
      const uint64_t count = std::min<uint64_t>(left, LinkPlace::kJoined);
      const uint32_t ring = put % LinkPlace::kRings;
      const uint64_t slot = put / LinkPlace::kRings * LinkPlace::kJoined % LinkPlace::kSlots;
      if (!raw.write(raw.place.sent(ring, slot, row_bytes), raw.place.received(ring, slot, row_bytes),
                     count * row_bytes))
        break;
      left -= count;
      ++put;
    }
    return rows - left;
  });
  raw.tell();
  return now_ns() - begin;
}

uint64_t RawWrites::counts(uint32_t rounds) {
  Impl& raw = *impl_;
  const bool first = raw.ends.rank < raw.ends.other;
  const Word before = seen_at(raw.region(), raw.place.ping());
  raw.ends.gather("");
  const uint64_t begin = now_ns();
  const auto send = [&](Word count) {
    *word_at(raw.region(), raw.place.drained(0)) = count;
    bool gone = false;
    raw.ends.await(raw, {"room for a raw count to", 1}, [&] {
      gone = gone || raw.write(raw.place.drained(0), raw.place.ping(), sizeof(Word));
      return Word(gone);
    });
  };
  for (Word count = before + 1; count <= before + rounds; ++count) {
    if (first) send(count);
    raw.ends.await(raw, {"a raw count of", count}, [&] { return seen_at(raw.region(), raw.place.ping()); });
    if (!first) send(count);
  }
  raw.tell();
  return now_ns() - begin;
}

}  // namespace transload::cli
