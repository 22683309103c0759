// What the ranks of this process have returned from: see last_call.h.
#include "runtime/host/last_call.h"

#include <map>
#include <mutex>
#include <utility>

#include "os/fork.h"

namespace transload {

namespace {

struct LastCalls {
  std::mutex mutex;
  std::map<std::pair<uint64_t, uint32_t>, std::shared_ptr<std::atomic<uint64_t>>> of;
};
LastCalls& last_calls() { return one_per_process<LastCalls>(); }

}  // namespace

LastCall::LastCall(uint64_t group, uint32_t rank)
    : group_(group), rank_(rank), epoch_(std::make_shared<std::atomic<uint64_t>>(0)) {
  LastCalls& all = last_calls();
  const std::lock_guard lock(all.mutex);
  all.of[{group_, rank_}] = epoch_;
}

LastCall::~LastCall() {
  LastCalls& all = last_calls();
  const std::lock_guard lock(all.mutex);
  const auto at = all.of.find({group_, rank_});
  if (at != all.of.end() && at->second == epoch_) all.of.erase(at);
}

bool LastCall::is_past(uint64_t group, uint32_t rank, uint64_t epoch) {
  LastCalls& all = last_calls();
  const std::lock_guard lock(all.mutex);
  const auto at = all.of.find({group, rank});
  return at != all.of.end() && at->second->load(std::memory_order_acquire) >= epoch;
}

}  // namespace transload
