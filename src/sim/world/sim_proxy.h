// The proxy of one rank of a world: an agent that takes the commands of the rank's warps and drives the network. It
// looks while a call runs, and sleeps between calls.
#pragma once
#include <cstdint>
#include <functional>

#include "channel/command_taker.h"
#include "sim/model/model_memory.h"
#include "sim/model/seeded.h"
#include "sim/world/timeline.h"

namespace transload {

class SimProxy {
 public:
  struct ProxyWorld {
    ModelShared shared;
    Seeded* seeded;
    Timeline* timeline;
    uint32_t commands_of_a_turn;               // after this many it shows how many it has taken
    uint32_t nap_in_256;                       // how often it naps for no reason
    std::function<void(bool awake)> on_sleep;  // while it sleeps, the network may stand still
  };
  SimProxy(const ProxyWorld& world, ModelMemory& memory) : world_(world), memory_(memory) {}
  SimProxy(const SimProxy&) = delete;
  SimProxy& operator=(const SimProxy&) = delete;

  void run();          // the body of its fiber, until its rank is gone
  void begin_calls();  // warps run from now on; wakes the proxy
  void end_calls();    // they have ended
  void stir();         // something landed in its queue
  void stop();         // it stands still from now on, though its rank does not
  void vanish();

  // Host of CommandTaker.
  using Plants = LivePlants;
  CommandSlot look(uint32_t slot);
  void carry(const RailCommand& command);
  void show_taken(Word count) { memory_.show_taken(count); }
  bool calls_over() const { return !calls_; }

 private:
  bool ended() const { return memory_.gone(); }
  void be_late();
  void wait();
  void wake();

  const ProxyWorld world_;
  ModelMemory& memory_;
  int fiber_ = -1;
  uint32_t slot_ = 0;  // the slot that it looked at last
  bool calls_ = false, news_ = false, stopped_ = false;
  bool asleep_ = false;  // between calls: only the next one wakes it
  bool blocked_ = false;
  uint64_t naps_ = 0;
};

}  // namespace transload
