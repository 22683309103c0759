// How warps fill the queues of a NIC themselves: room, a run of entries, one doorbell. Written once, for GPUs and for
// the CPU ranks of tests.
//
// A queue leads to one rank and is executed in order, entry after entry; between two queues there is no order. So all
// that a ring's two ends say goes through the queue of that ring (RailWord::queue). A count is an entry that adds what
// is new since its word was told last: the word has one writer, and what was told lives as long as the group.
//
// Several warps may fill one queue. A run is reserved only where all of it has room, so nobody waits with a run in
// hand; and who has reserved leaves for no fault before the doorbell, because others queue behind.
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
  uint32_t rank = kNobody;  // the receiver; kNobody: nothing
  uint32_t queue = 0;
  uint64_t to = 0;             // of the bytes or of the word, in the receiver's network region
  const char* from = nullptr;  // of a write
  uint64_t bytes = 0;          // of a write; 0: a count
  Word count = 0;              // what the word becomes

  TRANSLOAD_HD bool is_count() const { return bytes == 0; }
};

// What a queue says of its entries. `counter` is the number of the last complete one, its low bits: ~0 before the
// first. After an error none completes any more.
struct NicCompletion {
  uint16_t counter;
  uint8_t error;  // 0: none
};

// A queue as numbers. Indices of entries grow for ever; entry i lies in slot i mod depth.
struct NicRoom {
  static constexpr uint32_t kDepthMax = 1 << 15;  // half of what a counter tells apart
  uint32_t depth;

  // How many of those that were reserved are not complete; more than there are, if others have reserved since.
  TRANSLOAD_HD uint32_t under_way(uint64_t reserved, uint16_t counter) const {
    return uint16_t(reserved - 1 - counter);
  }
};

// What the words of other ranks were told last, for as long as a group: a row for each rank that is told anything.
struct ToldWords {
  Word* table;     // [rows][words]
  uint64_t words;  // of a row: those of the front of a network region, kWordBytes apart

  TRANSLOAD_HD Word& at(uint32_t row, uint64_t to) const {
    TRANSLOAD_CHECK(to % kWordBytes == 0 && to / kWordBytes < words);
    return table[row * words + to / kWordBytes];
  }
};

// What an entry adds to a word that becomes `count`: it has one writer, which remembers what it was told.
TRANSLOAD_HD Word added_to(Word& told, Word count) {
  const Word added = count - told;
  told = count;
  return added;
}

// Where an entry is filled. The completion of the `last` one of a run is asked for, and speaks for all before it.
template <class Queue>
struct NicSlot {
  Queue queue;
  uint64_t index;
  bool last;
};

enum class Sending : uint32_t {
  kSent,
  kFull,    // the caller's patience ended before there was room
  kBroken,  // the queue broke: what is in it, and what would follow, does not arrive
};

// How a warp's entries were sent. If they were not, it says whose queue they are for, how many of its entries were
// complete, and how many must be.
struct Sent {
  Sending how = Sending::kSent;
  uint32_t rank = kNobody;
  Word complete = 0, least = 0;
};

// The lowest of some lanes. std::countr_zero will not do: nvcc compiles that to 32 for a GPU, whatever they are.
TRANSLOAD_HD constexpr int lowest(uint32_t lanes) { return std::popcount(~lanes & (lanes - 1)); }

// Lanes are the threads of a warp that send together:
//   lane(), ballot(bool), from(value, lane), meet()   the last also orders their stores
// Nic is who owns the queues of this rank:
//   Queue                         refers to one; the same in all lanes
//   queue(rank, number)           that which leads there
//   room(q)                       its NicRoom
//   reserved(q)                   how many entries were reserved, by anybody
//   reserve(q, from, to)          makes that `to` if it still is `from`
//   completion(q)                 its NicCompletion
//   told(rank, to)                what that word was told last, a Word&
//   write(slot, entry)            fills that entry, a NicSlot, with a write
//   add(slot, entry, added)       with a count
//   submit(q, first, entries)     hands them to the NIC, behind all earlier ones: the doorbell
//   waits(looks)                  false: no more patience
template <class Lanes, class Nic>
class NicSender {
 public:
  TRANSLOAD_WARP NicSender(Lanes lanes, Nic& nic) : lanes_(lanes), nic_(nic) {}

  // All lanes call this. Writes are ahead of counts where they lie in lower slots: entries of one queue go in the order
  // of slots, then of lanes, in one run, behind one doorbell. What was told already is no entry.
  template <int kSlots>
  TRANSLOAD_WARP Sent send(const NicEntry (&mine)[kSlots]) {
    uint32_t left = 0;  // slots of mine
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

  // Sends all that lanes have for that queue, which leaves `left`. What it returns is alike in all lanes.
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
  // only then does the NIC's `reserve` say yes.
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
