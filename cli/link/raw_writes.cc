// Writes of libfabric, posted and reaped by hand.
#include "cli/link/raw_writes.h"

#include <rdma/fi_eq.h>

#include <algorithm>

#include "cli/link/said.h"
#include "cli/show/usage.h"
#include "transport/scaleout/libfabric/endpoint.h"

namespace transload::cli {

namespace {

constexpr uint32_t kOutMost = LinkPlace::kRings * LinkPlace::kSlots / LinkPlace::kJoined;  // as rings have room for

Provider provider_of(const LinkEnds& ends, const std::string& name) {
  LibfabricOptions options;
  options.rank = ends.rank;
  options.ranks = ends.ranks;
  options.source_address = ends.address();
  return find_provider(name, options);
}

}  // namespace

struct RawWrites::Impl {
  Impl(LinkEnds& given, const std::string& provider, LinkPlace rings)
      : ends(given),
        place(rings),
        memory(place.bytes() / kWordBytes + 1),
        endpoint(provider_of(ends, provider), ends.address(), 2 * kOutMost),
        contexts(kOutMost) {
    mine = endpoint.enroll({region(), place.bytes(), {}}, FI_WRITE | FI_REMOTE_WRITE);
    for (fi_context2& context : contexts) free.push_back(&context);
  }

  char* region() { return reinterpret_cast<char*>(memory.data()); }
  void connect();
  bool write(uint64_t from, uint64_t to, uint64_t bytes);
  void tell();
  // What LinkEnds::await moves on.
  bool progress();
  bool may_sleep() { return endpoint.may_sleep(); }
  int wait_fd() const { return endpoint.wait_fd(); }
  std::string lost() const { return broken; }

  LinkEnds& ends;
  const LinkPlace place;
  std::vector<WordLine> memory;
  FabricEndpoint endpoint;
  std::vector<fi_context2> contexts;
  std::vector<fi_context2*> free;
  fid_mr* mine = nullptr;
  fi_addr_t there = FI_ADDR_UNSPEC;
  uint64_t key = 0, base = 0;
  Word told = 0;
  std::string broken;
};

void RawWrites::Impl::connect() {
  const uint64_t my_base = endpoint.virtual_addresses() ? reinterpret_cast<uint64_t>(region()) : 0;
  const auto all = ends.gather(RawMemorySaid{fi_mr_key(mine), my_base, endpoint.address()}.pack());
  ends.all_or_none([&] {
    const RawMemorySaid theirs = RawMemorySaid::unpack(ends.other, all[ends.other]);
    key = theirs.key;
    base = theirs.base;
    there = endpoint.insert(ends.other, theirs.endpoint);
  });
}

bool RawWrites::Impl::write(uint64_t from, uint64_t to, uint64_t bytes) {
  if (free.empty() || !broken.empty()) return false;
  const FabricPiece piece{.from = region() + from, .bytes = bytes, .descriptor = fi_mr_desc(mine), .to = base + to};
  const ssize_t code =
      endpoint.write({.context = free.back(), .pieces = &piece, .count = 1, .rank = there, .key = key});
  if (code == 0) {
    free.pop_back();
    return true;
  }
  if (code != -FI_EAGAIN) broken = "raw writes: " + fabric_error(code);
  return false;
}

bool RawWrites::Impl::progress() {
  constexpr int kMost = 32;
  fi_cq_entry entries[kMost];
  const ssize_t count = fi_cq_read(endpoint.completions(), entries, kMost);
  for (ssize_t i = 0; i < count; ++i) free.push_back(static_cast<fi_context2*>(entries[i].op_context));
  if (count >= 0 || count == -FI_EAGAIN) return count > 0;
  fi_cq_err_entry error{};
  if (count == -FI_EAVAIL && fi_cq_readerr(endpoint.completions(), &error, 0) > 0)
    broken = "raw writes: " + fabric_error(-error.err);
  else
    broken = "raw writes: " + fabric_error(count);
  return true;
}

// Shows the other end one more count, and waits for its own; what was written before has come by then.
void RawWrites::Impl::tell() {
  *word_at(region(), place.credit(0)) = ++told;
  bool gone = false;
  ends.await(*this, {"the last raw write of", 1}, [&] {
    const bool idle = free.size() == contexts.size();
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
