// What every scale-out transport offers: five operations for the trip (put, publish, credit, quiet, rank
// translation), and how to sleep while it works.
//
// There is one object for each rank of a group, used by one thread at a time. Promises are those of contract.md,
// whatever the network promises: a published count is seen after every byte that was put to the same rank, by the same
// queue, before it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/word.h"
#include "channel/word.h"

namespace transload {

// A put of staged bytes into the network region of another rank.
struct Put {
  const char* from;  // source in my network region; does not change until `drained` says so
  uint64_t offset;   // target in the receiver's network region
  size_t bytes;
  uint32_t rank;  // the receiver
  // A word of mine that the network sets to drained_count once it has read this put and all earlier ones with the same
  // word; null: nobody asks.
  Word* drained;
  Word drained_count;
  size_t padding = 0;  // unused bytes of the slot after those of the put, at both ends: a longer put may cover them
  uint32_t queue = 0;  // which of the network's ways to the rank carries the put; ignored by a network that has one
};

// A rank that the transport found dead or cut off.
struct LostPeer {
  uint32_t rank;
  std::string reason;
};
// The words about a lost rank that the detail of a fault ends with.
inline std::string text_of(const LostPeer& peer) {
  return "; the network lost rank " + std::to_string(peer.rank) + ": " + peer.reason;
}

class ScaleOut {
 public:
  virtual ~ScaleOut() = default;

  // "libfabric tcp;ofi_rxm", "loopback": for people and records.
  virtual std::string name() const = 0;

  // Rank translation along the rail: the base of that rank's network region if a warp here may store to it directly,
  // else null, and then its bytes go through put and publish.
  virtual char* mapped(uint32_t rank) const = 0;

  // True if drained words are never written, because a credit says that the source of its slot is free, too. Then a
  // call does not wait for the network, and quiet() says only that all is handed over.
  virtual bool frees_by_credits() const { return false; }

  // Local: starts or queues the put; never blocks. Remote: bytes land in any order. Owner: caller keeps the source
  // until `drained`. Fails: never here; lost() names a rank that was found lost.
  virtual void put(const Put& put) = 0;

  // Local: the count is taken by value. Remote: the word at `to` reads `count` after every earlier put to that rank by
  // the same queue has landed, and never falls. Fails: as put().
  virtual void publish(RailWord to, Word count) = 0;

  // Does what publish() does, for a count that says what was taken. A rank that has left its call needs it no more, so
  // quiet() does not wait for it: what could not be sent is sent in the next call.
  virtual void credit(RailWord to, Word count) { publish(to, count); }

  // Local: tells that no more puts and counts come for now, so those that were held back to go out with others may go.
  // progress() tells this too.
  virtual void hand_over() {}

  // Lets the network progress, both as initiator and as target. True if anything of mine was sent or completed.
  // Arrivals are seen only in the words that they change.
  virtual bool progress() = 0;

  // True when every put and published count so far is locally complete (sources free, counts handed over). Call
  // progress() between.
  bool quiet() const { return busy_with() == kNobody; }

  // A rank to which some put or published count is not complete; kNobody if quiet().
  virtual uint32_t busy_with() const = 0;

  // A descriptor that becomes readable when progress() may have work, or -1 if arrivals do not wake.
  virtual int wait_fd() const = 0;

  // True if arrivals neither make wait_fd() readable nor ring a bell: whoever sleeps must look again soon.
  virtual bool arrives_silently() const { return wait_fd() < 0; }

  // True if what others sent here is confirmed to them only while this side calls progress(), and their calls wait for
  // that. Then somebody has to call it between the calls of this rank too.
  virtual bool needs_a_hand() const { return false; }

  // To be asked before a sleep on wait_fd(). False: call progress() again first. Asking may itself land bytes and
  // counts, so look at every awaited word after it, right before the sleep.
  virtual bool may_sleep() = 0;

  // The next rank that was found lost since the last call; false if none.
  virtual bool lost(LostPeer& peer) = 0;

  // Names what this process lacks if, without it, no other rank can be reached any more; else "".
  virtual std::string lacks() const { return {}; }
};

}  // namespace transload
