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
    uint32_t nap_in_256;                       // chance, in 256ths, of a nap for no reason
    std::function<void(bool awake)> on_sleep;  // while the proxy sleeps, the network may stand still
  };
  SimProxy(const ProxyWorld& world, ModelMemory& memory) : world_(world), memory_(memory) {}
  SimProxy(const SimProxy&) = delete;
  SimProxy& operator=(const SimProxy&) = delete;

  void run();          // the body of the proxy's fiber, until the rank is gone
  void begin_calls();  // warps run from now on; wakes the proxy
  void end_calls();    // no warp runs any more
  void stir();         // something landed in the proxy's queue
  void stop();         // the proxy stands still from now on, though the rank does not
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
  uint32_t slot_ = 0;  // the slot that the proxy looked at last
  bool calls_ = false, news_ = false, stopped_ = false;
  bool asleep_ = false;  // the proxy sleeps between calls: only the next call wakes it
  bool blocked_ = false;
  uint64_t naps_ = 0;
};

}  // namespace transload
