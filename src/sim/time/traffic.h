// What passes between nodes in a world with time. A message goes through its rank's proxy, if there is one, a queue of
// its NIC, the port out, and the port in of the other rank. Queues that are not empty take turns at the port out.
#pragma once
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sim/model/links.h"
#include "sim/time/port_times.h"
#include "sim/time/word_waits.h"
#include "sim/world/timeline.h"

namespace transload {

// A put or a count, which is one message of the network.
struct RailMessage {
  uint32_t to;
  uint64_t bytes;
  Word* word;  // put: the drained word of its sender, or null
  Word count;
  bool put;
  uint32_t queue;  // same as RailWord::queue
};

class Traffic {
 public:
  struct TrafficWorld {
    Timeline* timeline;
    ModelLinks* links;
    WordWaits* waits;
    PortTimes* times;
    const TimedMachine* machine;
    uint32_t ranks;
  };
  explicit Traffic(const TrafficWorld& world) : w_(world), nics_(world.ranks) {}

  // At time `when` the messages are handed to the network together, in this order.
  void hand_over(uint32_t from, std::vector<RailMessage> messages, uint64_t when);
  uint64_t put_bytes() const { return put_bytes_; }  // bytes of all puts so far

 private:
  static constexpr uint32_t kNone = ~uint32_t(0);
  // What one rank hands over at once for one queue. A parcel leaves in one piece.
  struct Parcel {
    uint32_t from = 0, to = 0, queue = 0, messages = 0;
    uint32_t next = kNone;  // the parcel after it in its queue
    uint64_t bytes = 0;
    std::vector<std::pair<Word*, Word>> counts, drained;
    ModelLinks::Transfer transfer() const {
      return {.from = from, .to = to, .scale_out = true, .bytes = bytes, .messages = messages};
    }
  };
  struct HandOver {
    uint32_t from = 0;
    std::vector<RailMessage> messages;
  };
  // The first and last parcel that wait in a queue.
  struct QueueOfNic {
    uint32_t first = kNone, last = kNone;
  };
  struct RankNic {
    uint64_t proxy_until = 0;  // until when the proxy is busy
    bool sends = false;
    std::unordered_map<uint64_t, QueueOfNic> queues;
    std::deque<QueueOfNic*> turns;  // queues that are not empty, in the order in which they send
  };
  void sort(uint32_t number);
  uint32_t parcel_of(uint32_t from, const RailMessage& message);
  void ask(uint32_t parcel);
  void post(uint32_t parcel);
  void send_next(uint32_t rank);
  void land(uint32_t parcel);

  const TrafficWorld w_;
  std::vector<Parcel> parcels_;
  std::vector<HandOver> hand_overs_;
  std::vector<uint32_t> free_parcels_, free_hand_overs_, open_;
  std::vector<RankNic> nics_;  // [ranks]
  uint64_t put_bytes_ = 0;
};

}  // namespace transload
