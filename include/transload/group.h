// Group: ranks that exchange tokens. All ranks make it together; each frees it alone.
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

// The network between nodes. kAuto takes the best that every rank has; kNvshmem is taken only if it is asked for.
enum class ScaleOutChoice : uint8_t { kAuto, kLibfabric, kLoopback, kNvshmem };
// Where ranks on GPUs keep what libfabric must reach: in memory of the GPU, or in pinned memory of the host, which
// always works and has less bandwidth. kAuto takes the GPU if provider, library and GPU of every rank allow it; kGpu
// fails if they do not.
enum class NetworkMemoryChoice : uint8_t { kAuto, kGpu, kPinned };
// What a call is doing.
enum class Phase : uint32_t { kIdle, kNotify, kDispatch, kCombine };

// Shows watchers where a call stands. It is plain memory of the caller, which may be shared with another process. On a
// GPU epoch and phase are written some milliseconds late, for replays too; rows are not counted there, and no rank
// halts.
struct Progress {
  std::atomic<uint64_t> epoch;       // epoch of the call in flight, or of the last one
  std::atomic<uint32_t> phase;       // Phase
  std::atomic<uint64_t> rows;        // rows moved in this phase
  std::atomic<uint64_t> rows_total;  // rows that this rank will move in this phase; it moves fewer if peers drop some
  // A debugging aid: while pause_epoch and pause_phase are those of the call, the rank halts after pause_rows rows and
  // says so in `paused`, until pause_epoch changes.
  std::atomic<uint64_t> pause_epoch;
  std::atomic<uint32_t> pause_phase;
  std::atomic<uint64_t> pause_rows;
  std::atomic<uint32_t> paused;
};

// What a group is made of. All fields are equal on all ranks, except `bootstrap`, the number of `device`, and each
// field whose comment speaks of this rank. If ranks differ in another field, making a group throws, and says in which.
struct GroupOptions {
  Bootstrap bootstrap;
  Topology topology;
  uint32_t experts = 1;
  // [experts] The rank of each expert. If it is empty, ranks own contiguous blocks whose sizes differ by at most one. A
  // shared expert, which every token goes to, is one more expert for each rank, owned by that rank, and one more choice
  // for each token: the shared expert of its own rank.
  std::vector<uint32_t> expert_owner;
  uint64_t tokens_max = 4096;      // the most tokens that any rank has in any call
  uint64_t row_bytes_max = 14336;  // longest dispatched row; a combined row is bf16 and at most as long
  uint32_t scales_max = 0;         // most 4-byte scales that a row has
  uint32_t top_k_max = 8;
  // For channels, slots and peer_slots 0 leaves the choice to the library, and decisions() shows it. On the CPU the
  // library takes 4 channels and 16 slots, between peers too. On a GPU it takes 16 channels for each of `sms` and 4
  // slots on one node, 4 channels for each of `sms` and 16 slots on several nodes, and 1 slot between peers.
  uint32_t channels = 0;            // the most channels of a call, and how many a call takes by default
  uint32_t slots = 0;               // of each ring between nodes
  uint32_t peer_slots = 0;          // of each ring between peers
  uint64_t slab_bytes = 64 << 20;   // room for leases of this rank
  uint32_t deadline_ms = 10000;     // deadline of every wait in a call
  uint32_t create_deadline_ms = 0;  // deadline of every wait while the group is made; 0: deadline_ms
  // The widest that a combine may ask for; kF32 doubles the bytes of combine's slots.
  CombineWire combine_wire = CombineWire::kBf16;
  ScaleOutChoice scale_out = ScaleOutChoice::kAuto;  // auto: on CPUs and between hosts libfabric, else loopback
  std::string provider;                              // provider of libfabric; "": the best that this machine has
  // The NIC that libfabric uses for this rank, as RDMA names it, such as mlx5_0; "": on a GPU the nearest by the PCI
  // tree, if the provider has it, and else whichever the provider names first.
  std::string nic;
  NetworkMemoryChoice network_memory = NetworkMemoryChoice::kAuto;
  // On the CPU: microseconds that this rank polls for what it waits for before it sleeps. Sleeping and waking up takes
  // about 90, so half of that is a good value. A larger value is faster if each rank has a core of its own, and slower
  // otherwise.
  uint32_t linger_us = 50;
  // Where this rank's tensors are, and who moves them: the CPU, or a GPU {kDLCUDA, number}.
  DLDevice device{kDLCPU, 0};
  uint32_t sms = 16;  // the most SMs of a GPU that a kernel of a rank takes; all ranks on one GPU must fit together
  // For a GPU whose rails are a network: how many commands the queue to this rank's proxy holds.
  uint32_t rail_queue = 1024;
  // For a GPU whose rails are a network: how many rows this rank stores into a ring before it sends their count, so
  // that one put carries them. The more rows a put has, the less each costs and the later it comes. At most half of
  // `slots`. 0 leaves the choice to the library, which takes a quarter of `slots` with a proxy, 1 with queues of a NIC.
  uint32_t rail_batch = 0;
  Progress* progress = nullptr;  // where this rank shows how far it is; optional; must outlive the group
  // Optional: the thread that makes a call asks this function at least every 100 ms while it waits on the host. It also
  // asks while the group is made (except in the caller's all_gather, and for up to 2 s while it looks up or dials an
  // address) and while the group is freed. If the function returns true or throws, this rank leaves the call, which
  // throws Error{kFault}, and the others hear that it failed, and why; a group that is being freed waits no longer.
  std::function<bool()> interrupted;
};

// How much of a rank's calls lies in its slabs at one time. The default has room for what is in use and for the outputs
// of the call before.
struct SlabUse {
  int64_t rows = -1;         // rows that a dispatch brings, or its rows_max; -1: the most possible, ranks x tokens_max
  int64_t tokens = -1;       // tokens of this rank in a combine; -1: tokens_max
  uint32_t dispatches = 2;   // dispatches with their outputs, and on a GPU with their handles
  uint32_t expert_rows = 2;  // leases of rows that a combine pulls, with a lease of weights beside each
  uint32_t combines = 2;     // combines with their outputs
};
// Returns the GroupOptions::slab_bytes that `use` needs, in calls as large as `options` allow. Leases of changing
// lengths leave gaps between them, for which this adds nothing. Throws Error{kInvalidArgument} for options of which no
// group can be made.
uint64_t slab_bytes_needed(const GroupOptions& options, const SlabUse& use = {});

// A choice that the group made, with its reason.
struct Decision {
  // What was chosen, such as "channels", "slots", "slots between peers", "members", "scale-up", "scale-out", "landing",
  // "combine source", "network memory", "nic", "nic queues", "network provider", "network completions", "rows of a
  // put", or the name of a setting of NVSHMEM.
  std::string what;
  std::string choice;
  std::string why;
};

// A group belongs to the process that made it. In a forked copy every call is refused, freeing the group does nothing,
// and its memory and leases are not mapped. A call on a group that was abandoned is refused, too.
//
// One thread at a time may call a group; several groups may be used at once, each by its own thread.
//
// On GPUs one thread may also call several ranks of a group, one after another on streams of their own, because calls
// there do not wait for each other. A first dispatch without rows_max does wait, so of these ranks only the one that
// the thread calls last may make one. Made by another rank, it is refused if the thread is known to call several ranks;
// in the thread's first calls it waits until the deadline.
class Group {
 public:
  // Collective. Throws Error: kInvalidArgument if this rank's own options are bad (the other ranks then get kFault at
  // their deadline), or on every rank if the ranks' options do not fit together; kNotSupported for what this build or
  // machine cannot do; kOutOfMemory; kDevice; kFault if a rank does not come.
  explicit Group(const GroupOptions& options);
  // Not collective. This rank waits, at most the deadline, until others have taken what it sent them (on a GPU: until
  // the kernels of its calls have ended), says goodbye, and leaves. A graph that holds a call of this rank keeps the
  // group's memory, so its replays do no harm, whenever they run.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  // Use this instead of freeing the group where threads or memory may already be gone: in a forked copy, or at the exit
  // of an interpreter. Nothing is freed, no thread is joined, and what is not sent yet may not arrive. In the process
  // that made the group this rank says goodbye, for which it waits at most a second. Calling it again does nothing. Do
  // not call it while another thread is in a call.
  void abandon() noexcept;

  uint32_t rank() const;
  const GroupOptions& options() const;  // the options as given; choices that were left to the library are filled in

  // Dispatch and combine are collective: all ranks make the same calls in the same order. Both throw Error of any code.
  // Only kFault loses the group: every later call throws the same fault at once.
  //
  // On the CPU, if some rank refuses a dispatch without a handle (kInvalidArgument, kNotSupported), all ranks refuse
  // it: the call is over, and they may make the next one. The message of the others names the lowest rank that refused.
  // With a handle, or on a GPU, a refused call does not count as a call of that rank: the others wait for it to make
  // one.
  DispatchOutputs dispatch(const DispatchInputs& inputs);
  CombineOutputs combine(const CombineInputs& inputs);

  // Says what a dispatch of these ids ([T, K] int32 or int64, contiguous; -1 for no choice) would send where. This is
  // not collective: it waits for nobody, and a thread may use it while another is in a call. Throws
  // Error{kNotSupported} on a GPU.
  CountOutputs count(const Tensor& topk_idx) const;

  // On a GPU this returns once the calls that were put on the stream are done, replays too. It throws the fault that
  // ended one of them. It throws Error{kTooManyRows} once if dispatches failed because room was short since the last
  // wait; the message is about the last of them. On the CPU calls are done when they return. Launch a graph on the
  // stream of the group's other calls, or order the two streams yourself.
  void wait(const Stream& stream = {});

  // Returns what the dispatch that made the handle found out. If the host was not told (on a GPU with rows_max),
  // report() first waits for the stream of that dispatch as wait() does. For want of room it does not throw: the status
  // says so.
  DispatchReport report(const Handle& handle, const Stream& stream = {});

  // Returns memory that peers can read in place (combine's pull). If the slabs have no room, the CPU gives private
  // memory, for which registered() is false. Throws Error{kOutOfMemory} if there is no private memory either; on a GPU
  // it throws as soon as the slabs have no room.
  Lease lease(size_t bytes);

  std::vector<uint32_t> local_experts() const;  // global ids, ascending
  MemoryReport memory() const;
  std::string scale_up_name() const;
  std::string scale_out_name() const;
  std::vector<Decision> decisions() const;  // the latest decision of each kind
  // For launchers and tests: gathers `mine` of every rank over the control channel, ordered by rank. Collective.
  std::vector<std::string> gather(const std::string& mine);

  struct Impl;  // joins the parts of the library; incomplete for users

 private:
  Impl& mine(const char* operation) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace transload
