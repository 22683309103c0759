// Group: ranks that exchange tokens. Made together, freed alone.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transload/bootstrap.h"
#include "transload/combine.h"
#include "transload/dispatch.h"
#include "transload/limits.h"
#include "transload/topology.h"

namespace transload {

// The network between nodes; kAuto takes the best that there is, but kNvshmem only who asks for it.
enum class ScaleOutChoice : uint8_t { kAuto, kLibfabric, kLoopback, kNvshmem };
// Where ranks on GPUs keep what libfabric must reach: in memory of the GPU, or pinned on the host, which always works
// and carries less. kAuto takes the GPU if provider, library and GPU of every rank allow it; kGpu fails if they do not.
enum class NetworkMemoryChoice : uint8_t { kAuto, kGpu, kPinned };
// What a call is doing.
enum class Phase : uint32_t { kIdle, kNotify, kDispatch, kCombine };

// Where a call stands, for watchers: plain memory of the caller, which may be shared with another process. On a GPU
// epoch and phase are written, some milliseconds late, for replays too; rows are not counted there, and none halts.
struct Progress {
  std::atomic<uint64_t> epoch;       // of the call in flight, or of the last one
  std::atomic<uint32_t> phase;       // Phase
  std::atomic<uint64_t> rows;        // rows moved in this phase
  std::atomic<uint64_t> rows_total;  // rows that this rank will move in it; fewer where peers drop some
  // A debugging aid: while pause_epoch and pause_phase are those of the call, the rank halts after pause_rows rows and
  // says so in `paused`, until pause_epoch changes.
  std::atomic<uint64_t> pause_epoch;
  std::atomic<uint32_t> pause_phase;
  std::atomic<uint64_t> pause_rows;
  std::atomic<uint32_t> paused;
};

// Equal on all ranks, except `bootstrap`, the number of `device`, and each field whose comment speaks of this rank.
// Where ranks differ in another one, making a group throws, and says in which.
struct GroupOptions {
  Bootstrap bootstrap;
  Topology topology;
  uint32_t experts = 1;
  // [experts] rank of each; empty: contiguous blocks, sizes differing by at most one. A shared expert, which every
  // token goes to, is one expert more for each rank, owned by it, and one choice more for each token: its own rank's.
  std::vector<uint32_t> expert_owner;
  uint64_t tokens_max = 4096;      // of any rank, in any call
  uint64_t row_bytes_max = 14336;  // of a dispatched row; a combined row is bf16 and as long at most
  uint32_t scales_max = 0;         // 4-byte scales of a row
  uint32_t top_k_max = 8;
  // 0: what suits the device, which decisions() shows. On the CPU 4 channels, 16 slots, and as many between peers; on a
  // GPU 16 channels for each of `sms` and 4 slots, or over several nodes 4 and 16; and 1 slot between peers.
  uint32_t channels = 0;                          // most, and what a call uses unless it says fewer
  uint32_t slots = 0;                             // of each ring
  uint32_t peer_slots = 0;                        // of each ring between peers
  uint64_t slab_bytes = 64 << 20;                 // room for leases of this rank
  uint32_t deadline_ms = 10000;                   // of every wait in a call
  uint32_t create_deadline_ms = 0;                // of every wait while the group is made; 0: deadline_ms
  CombineWire combine_wire = CombineWire::kBf16;  // the longest of any combine: with fp32 its slots are twice as long
  ScaleOutChoice scale_out = ScaleOutChoice::kAuto;  // auto: libfabric, else loopback
  std::string provider;                              // of libfabric; "": the best that is there
  // The NIC that libfabric uses for this rank, as RDMA names it, such as mlx5_0; "": on a GPU the nearest by the PCI
  // tree, if the provider has it, and else whichever the provider names first.
  std::string nic;
  NetworkMemoryChoice network_memory = NetworkMemoryChoice::kAuto;
  // On the CPU: microseconds that this rank looks for what it waits for before it sleeps. To sleep and to be woken
  // costs about 90, so half of that is a fair bet. More is faster where each rank has a core of its own, and slower
  // elsewhere.
  uint32_t linger_us = 50;
  // Where this rank's tensors are, and who moves them: the CPU, or a GPU {kDLCUDA, number}.
  DLDevice device{kDLCPU, 0};
  uint32_t sms = 16;  // of a GPU: most that a kernel of a rank takes; more ranks on one GPU must fit together
  // For a GPU whose rails are a network: how many commands the queue to this rank's proxy holds, and how many rows this
  // rank stores to a ring before their count, so that one put carries them. More rows cost less each, and come later;
  // at most half of `slots`. 0: what decisions() shows: by a proxy a quarter of `slots`, by queues of a NIC 1.
  uint32_t rail_queue = 1024;
  uint32_t rail_batch = 0;
  Progress* progress = nullptr;  // of this rank, optional; must outlive the group
  // Optional: asked at least every 100 ms, by the thread that makes the call, while that waits on the host; also while
  // the group is made, but for the caller's all_gather and up to 2 s of looking up or dialling an address; and while it
  // is freed. True, or an exception: this rank leaves the call, which throws Error{kFault}; the others hear that it
  // failed, and why. A group that is freed then waits no longer.
  std::function<bool()> interrupted;
};

// What of a rank's calls lies in its slabs at one time: by default what is in use and what is not let go of yet.
struct SlabUse {
  int64_t rows = -1;         // that come in a dispatch, or its rows_max; -1: the most that can, ranks x tokens_max
  int64_t tokens = -1;       // of this rank in a combine; -1: tokens_max
  uint32_t dispatches = 2;   // with their outputs, and on a GPU with their handles
  uint32_t expert_rows = 2;  // leases of rows that a combine pulls, with a lease of weights beside each
  uint32_t combines = 2;     // with their outputs
};
// Bytes for GroupOptions::slab_bytes, so that there is room for this, in calls as large as these options allow. Leases
// of changing lengths leave gaps between them, for which it holds nothing. Throws Error{kInvalidArgument}, as making a
// group of these options would.
uint64_t slab_bytes_needed(const GroupOptions& options, const SlabUse& use = {});

// A choice that the group made, with its reason.
struct Decision {
  std::string what;  // "channels", "slots", "slots between peers", "members", "scale-up", "scale-out", "landing",
                     // "combine source", "network memory", "nic", "rows of a put"
  std::string choice;
  std::string why;
};

// A group belongs to the process that made it. In a copy (fork) every call is refused, freeing it does nothing, and its
// memory and leases are not there. A call on a group that was abandoned is refused, too.
//
// One thread at a time may call a group; several groups may be used at once, each by its own thread.
//
// On GPUs one thread may also call several ranks of a group, one after another on streams of their own: calls do not
// wait for each other there. A first dispatch without rows_max does, so only the last of these ranks may make one. It
// is refused where the thread has called both ranks before; in its first calls it ends at the deadline.
class Group {
 public:
  // Collective. Throws Error: kInvalidArgument on every rank alike, kNotSupported for what this build or machine cannot
  // do, kOutOfMemory, kDevice, or kFault if somebody does not come.
  explicit Group(const GroupOptions& options);
  // Not collective: waits, at most the deadline, until peers have taken what I sent them (on a GPU: until the kernels
  // of my calls have ended), says goodbye, and leaves. A graph that holds a call of mine keeps my memory, so
  // its replays do no harm, whenever they run.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  // Instead of freeing it, where threads or memory may be gone by then: in a forked copy, or at the exit of an
  // interpreter. Nothing is freed, no thread is joined, and what is not sent yet may not arrive. In the process that
  // made the group this rank says goodbye, for which it waits a second at most. Once is enough; not while another
  // thread is in a call.
  void abandon() noexcept;

  uint32_t rank() const;
  const GroupOptions& options() const;  // as given, but what was left to the library has its value

  // Collective, in the same order on all ranks. Throws Error of any code. Only kFault loses the group: every later call
  // throws the same fault at once.
  //
  // On the CPU a dispatch without a handle that some rank refuses (kInvalidArgument, kNotSupported) is refused on all:
  // it was their call, and they may make the next one. The message of the others names the lowest rank that refused.
  // What is refused otherwise, with a handle or on a GPU, is no call of that rank: the others wait for it to make one.
  DispatchOutputs dispatch(const DispatchInputs& inputs);
  CombineOutputs combine(const CombineInputs& inputs);

  // What a dispatch of these ids ([T, K] int32 or int64, contiguous; -1 for no choice) would send where. No call: it
  // waits for nobody, and may be made beside a call of another thread. Throws Error{kNotSupported} on a GPU.
  CountOutputs count(const Tensor& topk_idx) const;

  // On a GPU: returns once the calls that were given to the stream are done, replays too. Throws the fault that ended
  // one of them. Throws Error{kTooManyRows}, once, if dispatches failed for want of room since the last wait; it tells
  // of the last one. On the CPU calls are done when they return. A graph is launched on the stream of the group's other
  // calls, or its caller orders the two.
  void wait(const Stream& stream = {});

  // What the dispatch that made the handle found out. Where the host was not told (a GPU, rows_max) it first waits as
  // wait() does for the stream of that dispatch, but throws nothing for want of room: the status says so.
  DispatchReport report(const Handle& handle, const Stream& stream = {});

  // Room that peers can read in place (combine's pull). If the slabs have none: private memory, and registered() false.
  // Throws Error{kOutOfMemory} where there is no private memory either; on a GPU none stands in.
  Lease lease(size_t bytes);

  std::vector<uint32_t> local_experts() const;  // global ids, ascending
  MemoryReport memory() const;
  std::string scale_up_name() const;
  std::string scale_out_name() const;
  std::vector<Decision> decisions() const;  // the latest of each kind
  // For launchers and tests: gathers `mine` of every rank over the control channel, by rank. Collective.
  std::vector<std::string> gather(const std::string& mine);

  struct Impl;  // of the library alone, whose parts it joins: users see it incomplete

 private:
  Impl& mine(const char* operation) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace transload
