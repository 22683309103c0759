// Remembering which thread called which rank, and finding whom it still owes a call.
#include "runtime/call/call_log.h"

#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/word.h"

namespace transload {

namespace {

struct CallNote {
  std::thread::id last;  // the thread that made the last call
  uint64_t calls = 0;    // calls that have begun
  uint64_t since = 0;    // number of the first of those calls that `last` made in a row
};

struct Logs {
  std::mutex mutex;
  std::map<uint64_t, std::map<uint32_t, CallNote>> groups;  // the notes of each group, by rank
};

Logs& logs() {
  static Logs& one = *new Logs;  // outlives every group
  return one;
}

}  // namespace

CallLog::CallLog(uint64_t group, uint32_t rank) : group_(group), rank_(rank) {
  Logs& all = logs();
  const std::lock_guard lock(all.mutex);
  all.groups[group][rank] = {};
}

CallLog& CallLog::operator=(CallLog&& other) noexcept {
  if (this == &other) return *this;
  leave();
  group_ = std::exchange(other.group_, 0);
  rank_ = other.rank_;
  return *this;
}

void CallLog::leave() {
  if (group_ == 0) return;
  Logs& all = logs();
  const std::lock_guard lock(all.mutex);
  const auto group = all.groups.find(std::exchange(group_, 0));
  group->second.erase(rank_);
  if (group->second.empty()) all.groups.erase(group);
}

void CallLog::called() {
  Logs& all = logs();
  const std::lock_guard lock(all.mutex);
  CallNote& mine = all.groups[group_][rank_];
  ++mine.calls;
  if (const std::thread::id me = std::this_thread::get_id(); mine.last != me) {
    mine.last = me;
    mine.since = mine.calls;
  }
}

uint32_t CallLog::owed() const {
  Logs& all = logs();
  const std::lock_guard lock(all.mutex);
  const std::map<uint32_t, CallNote>& ranks = all.groups[group_];
  const CallNote& mine = ranks.at(rank_);
  if (mine.last != std::this_thread::get_id()) return kNobody;
  for (const auto& [rank, other] : ranks)
    if (rank != rank_ && other.last == mine.last && other.calls <= mine.calls && mine.since <= other.calls) return rank;
  return kNobody;
}

bool CallLog::behind(uint32_t rank) const {
  Logs& all = logs();
  const std::lock_guard lock(all.mutex);
  const std::map<uint32_t, CallNote>& ranks = all.groups[group_];
  const auto other = ranks.find(rank);
  return other != ranks.end() && other->second.calls < ranks.at(rank_).calls;
}

}  // namespace transload
