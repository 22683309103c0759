// How warps fill the queues of a NIC themselves: room, a burst of entries, one doorbell. Written once, for GPUs and for
// the CPU ranks of tests.
//
// A queue leads to one rank and is executed in order, entry after entry; between two queues there is no order. So all
// that a ring's two ends say goes through the queue of that ring (RailWord::queue). A count is an entry that adds to
// its word what is new since the last entry for that word. The word has one writer, which remembers for as long as the
// group what it told the word.
//
// Several warps may fill one queue. A burst is reserved only once all of it has room, so nobody waits while holding
// one. A warp that has reserved a burst rings the doorbell before it leaves for any fault, because the bursts of others
// come after it in the queue.
#pragma once
#include <bit>
#include <cstdint>

#include "base/check.h"
#include "base/macros.h"
#include "base/set.h"
#include "base/word.h"

namespace transload {

// What a lane has for a queue: the write of a put, or a count.
struct NicEntry {
  uint32_t rank = kNobody;  // the receiver; kNobody: the lane has nothing
  uint32_t queue = 0;
  uint64_t to = 0;             // offset of the bytes or word in the receiver's network region
  const char* from = nullptr;  // source of a write
  uint64_t bytes = 0;          // length of a write; 0: the entry is a count
  Word count = 0;              // new value of the word

  TRANSLOAD_HD bool is_count() const { return bytes == 0; }
};

// What a queue says of its entries. `counter` has the low bits of the number of the last complete entry; they are all
// ones before the first. After an error no entry completes any more.
struct NicCompletion {
  uint16_t counter;
  uint8_t error;  // 0: none
};

// The arithmetic of a queue. Indices of entries grow for ever; entry i lies in slot i mod depth.
struct NicRoom {
  static constexpr uint32_t kDepthMax = 1 << 15;  // half of the values that a counter has
  uint32_t depth;

  // How many of the `reserved` entries are not complete. If others have reserved since that was read, the answer may be
  // too large, and then there seems to be no room.
  TRANSLOAD_HD uint32_t under_way(uint64_t reserved, uint16_t counter) const {
    return uint16_t(reserved - 1 - counter);
  }
};

// For each word of another rank the count that was sent to it last, kept for as long as the group: a row for each rank
// that is sent any. The warp that sends the counts of a word reads and writes its entry.
struct ToldWords {
  Word* table;     // [rows][words]
  uint64_t words;  // words of a row: those at the front of a network region, kWordBytes apart

  TRANSLOAD_HD Word& at(uint32_t row, uint64_t to) const {
    TRANSLOAD_CHECK(to % kWordBytes == 0 && to / kWordBytes < words);
    return table[row * words + to / kWordBytes];
  }
};

// What an entry must add so that its word becomes `count`. `told` is the count that was sent to the word last.
TRANSLOAD_HD Word added_to(Word& told, Word count) {
  const Word added = count - told;
  told = count;
  return added;
}

// Where an entry is filled. A completion is asked for only of the `last` entry of a burst, and speaks for all before
// it.
template <class Queue>
struct NicSlot {
  Queue queue;
  uint64_t index;
  bool last;
};

enum class Sending : uint32_t {
  kSent,
  kFull,    // the caller's patience ended before there was room
  kBroken,  // the queue broke: entries in it, and later ones, do not arrive
};

// How a warp's entries were sent. If they were not: which rank their queue leads to, how many entries of the queue were
// complete, and how many had to be.
struct Sent {
  Sending how = Sending::kSent;
  uint32_t rank = kNobody;
  Word complete = 0, least = 0;
};

// The lowest of some lanes. std::countr_zero will not do: nvcc compiles that to 32 for a GPU, whatever they are.
TRANSLOAD_HD constexpr int lowest(uint32_t lanes) { return std::popcount(~lanes & (lanes - 1)); }

// Lanes are the threads of a warp that send together:
//   lane(), ballot(bool), from(value, lane)
//   meet()                        also orders the stores of all lanes
// Nic is who owns the queues of this rank:
//   Queue                         refers to one queue; the same in all lanes
//   queue(rank, number)           the queue `number` to that rank
//   room(q)                       its NicRoom
//   reserved(q)                   how many entries were reserved, by anybody
//   reserve(q, from, to)          sets reserved(q) to `to`; false if it is not `from` any more
//   completion(q)                 its NicCompletion
//   told(rank, to)                the count that was last sent to the word at `to` of that rank, a Word&
//   write(slot, entry)            fills the entry at `slot`, a NicSlot, with a write
//   add(slot, entry, added)       fills the entry at `slot` with an addition of `added` to a word
//   submit(q, first, entries)     rings the doorbell: hands entries to the NIC, after all earlier ones
//   waits(looks)                  false: the caller's patience has ended
template <class Lanes, class Nic>
class NicSender {
 public:
  TRANSLOAD_WARP NicSender(Lanes lanes, Nic& nic) : lanes_(lanes), nic_(nic) {}

  // All lanes call this. Entries of one queue go in the order of the slots of `mine`, then of lanes, so writes in lower
  // slots go ahead of counts. They are one burst with one doorbell, unless they are more than the queue is deep. A
  // count that was sent already is left out.
  template <int kSlots>
  TRANSLOAD_WARP Sent send(const NicEntry (&mine)[kSlots]) {
    uint32_t left = 0;  // bits of the slots of `mine` that are not sent
    TRANSLOAD_ROLLED for (int s = 0; s < kSlots; ++s) left |= uint32_t(has(mine[s])) << s;
    for (;;) {
      const uint32_t holders = lanes_.ballot(left != 0);
      if (holders == 0) return {};
      uint32_t rank = 0, number = 0;
      TRANSLOAD_ROLLED for (int s = kSlots; s-- > 0;) if (left >> s & 1) rank = mine[s].rank, number = mine[s].queue;
      const int leader = lowest(holders);
      rank = lanes_.from(rank, leader);
      number = lanes_.from(number, leader);
      const Sent sent = send_to(rank, number, mine, left);
      if (sent.how != Sending::kSent) return sent;
    }
  }

 private:
  using Queue = typename Nic::Queue;

  TRANSLOAD_WARP bool has(const NicEntry& entry) const {
    return entry.rank != kNobody && (!entry.is_count() || entry.count != nic_.told(entry.rank, entry.to));
  }

  // Sends all that lanes have for that queue, and takes it out of `left`. What it returns is alike in all lanes.
  template <int kSlots>
  TRANSLOAD_WARP Sent send_to(uint32_t rank, uint32_t number, const NicEntry (&mine)[kSlots], uint32_t& left) {
    const Queue queue = nic_.queue(rank, number);
    const Set below = Set::first(lanes_.lane());
    uint32_t entries = 0, place[kSlots];
    TRANSLOAD_ROLLED for (int s = 0; s < kSlots; ++s) {
      const bool goes = (left >> s & 1) != 0 && mine[s].rank == rank && mine[s].queue == number;
      const Set all{lanes_.ballot(goes)};
      place[s] = goes ? entries + uint32_t((all & below).count()) : kNobody;
      entries += uint32_t(all.count());
      if (goes) left &= ~(uint32_t(1) << s);
    }
    const uint32_t depth = nic_.room(queue).depth;
    for (uint32_t begin = 0, end; begin < entries; begin = end) {
      end = entries - begin < depth ? entries : begin + depth;
      uint64_t first = 0;
      const Sent room = reserve(queue, rank, end - begin, first);
      if (room.how != Sending::kSent) return room;
      TRANSLOAD_ROLLED for (int s = 0; s < kSlots; ++s) if (place[s] >= begin && place[s] < end)
          fill({queue, first + place[s] - begin, place[s] + 1 == end}, mine[s]);
      lanes_.meet();
      if (lanes_.lane() == 0) nic_.submit(queue, first, end - begin);
    }
    return {};
  }

  // Waits for room, then takes it. The room that a completion leaves is still there if nobody has reserved since, and
  // only then is the NIC's `reserve` true.
  TRANSLOAD_WARP Sent reserve(Queue queue, uint32_t rank, uint32_t entries, uint64_t& first) {
    const NicRoom room = nic_.room(queue);
    Sent sent{Sending::kFull, rank, 0, 0};
    for (uint32_t looks = 1; lanes_.lane() == 0; ++looks) {
      first = nic_.reserved(queue);
      const NicCompletion done = nic_.completion(queue);
      const uint32_t under_way = room.under_way(first, done.counter);
      sent.complete = first - under_way;
      sent.least = first + entries > room.depth ? first + entries - room.depth : 0;
      if (done.error != 0) {
        sent.how = Sending::kBroken;
        break;
      }
      if (under_way + entries <= room.depth) {
        if (!nic_.reserve(queue, first, first + entries)) continue;
        sent.how = Sending::kSent;
        break;
      }
      if (!nic_.waits(looks)) break;
    }
    first = lanes_.from(first, 0);
    sent.how = Sending(lanes_.from(uint32_t(sent.how), 0));
    sent.complete = lanes_.from(sent.complete, 0);
    sent.least = lanes_.from(sent.least, 0);
    return sent;
  }

  TRANSLOAD_WARP void fill(const NicSlot<Queue>& slot, const NicEntry& entry) {
    if (!entry.is_count()) return nic_.write(slot, entry);
    nic_.add(slot, entry, added_to(nic_.told(entry.rank, entry.to), entry.count));
  }

  Lanes lanes_;
  Nic& nic_;
};

}  // namespace transload
