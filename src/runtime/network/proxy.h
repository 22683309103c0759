// The host thread that drives the network for the kernels of a rank: it takes their commands, hands them to the link,
// and moves that on. It makes no CUDA call, so it waits for no kernel.
#pragma once
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "channel/command_taker.h"
#include "channel/scaleout.h"
#include "executor/cuda/rail_queue.h"
#include "os/descriptor.h"

namespace transload {

class Proxy {
 public:
  struct Place {
    char* network;  // the rank's network region, which the proxy itself does not touch
    RailQueue queue;
    Word* taken;  // written by the proxy, read by warps: how many commands it has taken
  };
  // `link` and `place` outlive it; nobody else uses the link meanwhile. `broken` hears, in the proxy's thread, why it
  // cannot go on. `naps` says whether kernels may give commands though nobody called wake(), as those of a graph do.
  Proxy(ScaleOut& link, const Place& place, std::function<bool()> naps,
        std::function<void(const std::exception&)> broken);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // From now on the proxy asks and tells its maker nothing, and naps: kernels of a graph may outlive the group.
  void orphan();

  // Ends the thread if it makes a turn by `until` (now_ns()). False: the thread is stuck, and the destructor would
  // wait.
  bool end(uint64_t until);

  // A call begins: from now on the proxy polls.
  void wake();
  // How often wake() was called.
  uint64_t wakes() const { return wakes_.load(std::memory_order_acquire); }
  // No call runs any more, so the proxy may sleep, unless wake() was called after wakes() returned this number.
  void rest(uint64_t wakes) { rests_.store(wakes, std::memory_order_release); }

  // Grows with every turn of the thread: a proxy that is awake and does not turn is stuck.
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }
  // How many commands were taken so far.
  Word taken() const { return taken_.load(std::memory_order_acquire); }
  // Whether all commands taken are with the network, and their sources free.
  bool quiet() const { return quiet_.load(std::memory_order_acquire); }
  // The next peer that the link found lost since the last call; false if none.
  bool lost(LostPeer& peer);

 private:
  using Taker = CommandTaker<Proxy>;
  friend Taker;
  using Plants = HostPlants;

  void run(std::stop_token stop);
  Taker::Took turn();
  void sleep();
  long nap_ns(uint64_t now) const;
  // These are what CommandTaker asks of its Host.
  bool calls_over() const { return rests_.load(std::memory_order_acquire) == wakes(); }
  CommandSlot look(uint32_t slot) const;
  void carry(const RailCommand& command);
  void show_taken(Word count);

  ScaleOut& link_;
  const Place place_;
  const std::function<bool()> naps_;
  const std::function<void(const std::exception&)> broken_;
  Taker taker_;
  Descriptor bell_;
  uint64_t idle_since_ = 0;                    // now_ns() after the last turn that found something to do
  uint64_t nap_cost_ns_ = 0;                   // processor time that a nap took, as last measured
  std::atomic<uint64_t> wakes_{0}, rests_{0};  // wake() and rest() write them; the thread reads them
  // The thread writes these; others read them.
  std::atomic<uint64_t> turns_{0};
  std::atomic<Word> taken_{0};
  std::atomic<bool> quiet_{true}, ended_{false};
  std::mutex mutex_;  // guards what follows, and calls of naps_ and broken_
  bool orphaned_ = false;
  std::deque<LostPeer> lost_;
  std::jthread thread_;
};

}  // namespace transload
