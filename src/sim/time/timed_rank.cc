// Running a rank's warps in virtual time.
#include "sim/time/timed_rank.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/near.h"
#include "runtime/host/combine_call.h"
#include "runtime/host/dispatch_call.h"

namespace transload {

TimedRank::TimedRank(const TimedShared& shared, const GroupOptions& options)
    : memory(shared, options.bootstrap.rank), core(options, *this), s_(shared) {}

void TimedRank::place() {
  const auto region = [&](uint32_t rank) { return s_.regions + rank * s_.region_bytes; };
  const uint64_t net = core.network_bytes(), up = core.scale_up_bytes();
  Mappings place;
  place.network = region(core.map.me);
  for (uint32_t p = 0; p < core.map.peers; ++p)
    place.scale_up.push_back({region(core.map.peer_rank(p)) + net, s_.region_bytes - net});
  place.mapped.resize(core.map.ranks);
  place.arena = std::make_shared<Arena>(place.network + net + up, core.options.slab_bytes, nullptr);
  core.reserve();
  core.place(std::move(place));
  if (s_.machine->rails == RailMode::kProxy) return;
  // With queues a credit frees a source, so warps need not wait for a drained word.
  for (RingPositions* positions : {&core.dispatch_rail, &core.combine_rail})
    std::fill(positions->drained.begin(), positions->drained.end(), core.always);
}

// On GPUs half of a block's warps play each of the two roles of a call over several nodes (CudaDispatch, CudaCombine).
uint32_t TimedRank::warps_of_role() const { return s_.machine->sms * kWarpsOfBlock / 2; }

bool TimedRank::run(const std::vector<Task>& tasks) {
  memory.begin_run(int(tasks.size()));
  host_ = s_.seeded->running();
  left_ = uint32_t(tasks.size());
  for (int i = 0; i < int(tasks.size()); ++i) {
    const Task& task = tasks[size_t(i)];
    s_.seeded->start({core.map.me, core.map.me}, [this, i, &task](int, NearMemory near) {
      TimedWarp warp(memory, i, near);
      task(warp);
      warp.settle();
      memory.ends(i);
      if (--left_ == 0) s_.seeded->wake(host_);
    });
  }
  while (left_ > 0) s_.seeded->block();
  return true;
}

void TimedRank::note(uint64_t, Phase phase, uint64_t) {
  if (phase == Phase::kDispatch) return memory.watch(Role::kSender, Role::kForwarder);
  if (phase == Phase::kCombine) return memory.watch(Role::kForwarder, Role::kReceiver);
  memory.watch(Role::kCount, Role::kCount);
}

void TimedRank::fail(const char*) { TRANSLOAD_CHECK(false); }  // no call fails in a world with time

void TimedRank::give_up(const char* operation, const std::string&) { fail(operation); }

template DispatchOutputs HostCalls<TimedWarp>::dispatch(const DispatchInputs& in);
template CombineOutputs HostCalls<TimedWarp>::combine(const CombineInputs& in);

}  // namespace transload
