// The thread of a group on GPUs that goes between the control channel and the kernels, since neither can call the
// other.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <stop_token>
#include <string>
#include <thread>

#include "control/control.h"
#include "kernels/device_call.h"
#include "runtime/cuda/current_call.h"
#include "runtime/device_share.h"
#include "runtime/kernel_watch.h"
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
  DeviceReservation& reservation;  // share of the device, given back once the group is faulted
  cudaEvent_t done;                // recorded after the last call
  cudaStream_t idle;               // a stream without work, so an error of it is the context's
  Proxy* proxy;                    // null: there is no proxy
  NicQueues* nic;                  // null: no queues of a NIC are used
  Progress* progress;              // null: the caller watches no progress
};

class CudaWatcher {
 public:
  explicit CudaWatcher(const WatchedGroup& group) : g_(group), watch_(group.me) {}

  // Begins to watch, in a thread of its own that ends with the watcher.
  void start();
  // Tells the others, once, what a kernel found. Any thread may ask for it.
  void tell_fault();

 private:
  void watch(std::stop_token stop) noexcept;
  void look();
  KernelLook look_at() const;
  std::string cut_by_nic(uint32_t rank);

  const WatchedGroup g_;
  KernelWatch watch_;
  std::jthread thread_;  // last, because the thread uses all other members
};

}  // namespace transload
