// The thread of a group on GPUs that goes between the control channel and the kernels, since neither can call the
// other.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "control/control.h"
#include "kernels/device_call.h"
#include "runtime/cuda/current_call.h"
#include "runtime/device_share.h"
#include "runtime/network/nic_queues.h"
#include "runtime/network/proxy.h"

namespace transload {

// What a watcher reaches of its group. It outlives the watcher.
struct WatchedGroup {
  int device;
  uint32_t me;
  Control& control;
  HostWords& words;
  const CurrentCall& call;
  DeviceReservation& reservation;  // given back once the group is faulted
  cudaEvent_t done;                // recorded behind the last call
  cudaStream_t idle;               // nothing is on it: what fails there is the context
  Proxy* proxy;                    // null: there is none
  NicQueues* nic;                  // null: there are none
  Progress* progress;              // null: the caller has none
};

class CudaWatcher {
 public:
  explicit CudaWatcher(const WatchedGroup& group) : g_(group) {}

  // Begins to watch, in a thread of its own that ends with the watcher.
  void start();
  // Tells the others, once, what a kernel found. Any thread may ask for it.
  void tell_fault();

 private:
  void watch(std::stop_token stop) noexcept;
  void look();
  bool in_call() const;
  void tell_lost_context();
  void watch_proxy(bool in_call);
  std::string cut_by_nic(uint32_t rank);

  const WatchedGroup g_;
  std::mutex telling_;
  bool told_ = false;  // guarded by `telling_`; what follows is the thread's alone
  bool context_lost_ = false;
  uint64_t proxy_turns_ = 0;
  uint32_t stuck_looks_ = 0;
  bool proxy_told_ = false;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace transload
