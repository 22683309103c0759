// Rows both ways at once over a rail's link, as rings move them: puts, counts after them, and credits that come back.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "channel/scaleout.h"
#include "cli/link/ends.h"

namespace transload::cli {

// Where rings and words lie in a region; the same on every rank.
struct LinkPlace {
  static constexpr uint32_t kRings = 8, kSlots = 16;
  static constexpr uint32_t kJoined = 4;  // the most rows that one put carries
  uint64_t row_bytes_max;

  uint64_t tail(uint32_t ring) const { return ring * kWordBytes; }
  uint64_t credit(uint32_t ring) const { return (kRings + ring) * kWordBytes; }
  uint64_t drained(uint32_t ring) const { return (2 * kRings + ring) * kWordBytes; }
  uint64_t ping() const { return 3 * kRings * kWordBytes; }
  uint64_t sent(uint32_t ring, uint64_t slot, uint64_t row_bytes) const {
    return (3 * kRings + 1) * kWordBytes + ring * kSlots * row_bytes_max + slot * row_bytes;
  }
  uint64_t received(uint32_t ring, uint64_t slot, uint64_t row_bytes) const {
    return sent(kRings + ring, slot, row_bytes);
  }
  uint64_t bytes() const { return sent(2 * kRings, 0, 0); }
};

// Memory for regions, in pieces where words may lie.
struct alignas(kWordBytes) WordLine {
  char bytes[kWordBytes];
};

inline Word* word_at(char* region, uint64_t offset) { return reinterpret_cast<Word*>(region + offset); }
Word seen_at(char* region, uint64_t offset);

enum class Pass : uint8_t {
  kChecked,  // rows are made, and compared as soon as their count is seen
  kTimed,    // rows are neither made nor compared
  kSpoiled,  // rows are compared, but every put lacks its last row: its count speaks of a row that has not come
};

struct PassResult {
  uint64_t ns = 0, rows = 0, wrong = 0;
  std::string first_wrong;
};

class RowTraffic {
 public:
  // `link` and `region` outlive it.
  RowTraffic(LinkEnds& ends, ScaleOut& link, char* region, LinkPlace place);

  // Collective, and alike on all ranks: `rows` rows of `row_bytes` bytes go each way.
  PassResult pass(Pass pass, uint64_t row_bytes, uint64_t rows);
  // Sends `counts` counts of one word, one after the other. Returns how often the word was seen to fall.
  Word falls(uint32_t counts);
  // Sends a count there and back, `rounds` times. Returns the nanoseconds that all rounds took together.
  uint64_t counts(uint32_t rounds);

  // What LinkEnds::await needs of a network: these four functions.
  bool progress() { return link_.progress(); }
  bool may_sleep() { return link_.may_sleep(); }
  int wait_fd() const { return link_.wait_fd(); }
  std::string lost();

 private:
  struct LinkRing {
    Word sent = 0, taken = 0;      // rows since the first pass
    Word sent_end = 0, begin = 0;  // where this pass ends, and where it began
  };
  Word credit(uint32_t r) const;
  Word turn(Pass pass, uint64_t row_bytes, PassResult& out);
  void send(Pass pass, uint32_t r, uint64_t row_bytes);
  void take(Pass pass, uint32_t r, uint64_t row_bytes, PassResult& out);

  LinkEnds& ends_;
  ScaleOut& link_;
  char* const region_;
  const LinkPlace place_;
  std::vector<LinkRing> rings_{LinkPlace::kRings};
  Word pings_ = 0;
};

}  // namespace transload::cli
