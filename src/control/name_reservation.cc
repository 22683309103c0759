// Which names the groups of this process have: see name_reservation.h.
#include "control/name_reservation.h"

#include <map>
#include <mutex>

#include "os/fork.h"
#include "transload/status.h"

namespace transload {

namespace {

struct Holder {
  const NameReservation* owner;
  bool disputed = false;
};

// A forked child has none of its parent's groups.
struct NameReservations {
  std::mutex mutex;
  std::map<std::string, Holder> by_key;
};
NameReservations& reservations() { return one_per_process<NameReservations>(); }

std::string key_of(const Bootstrap& b) {
  return b.host + ":" + std::to_string(b.port) + " " + std::to_string(b.rank) + " " + std::to_string(b.job.size()) +
         " " + b.job + b.name;
}

}  // namespace

NameReservation::NameReservation(const Bootstrap& bootstrap)
    : key_(key_of(bootstrap)),
      why_("bootstrap.name: \"" + bootstrap.name + "\": rank " + std::to_string(bootstrap.rank) +
           " makes two groups of this name at the same time, must give them different names") {
  if (bootstrap.port == 0) return;  // a group without a port has a rendezvous of its own
  NameReservations& all = reservations();
  const std::lock_guard lock(all.mutex);
  const auto [at, fresh] = all.by_key.emplace(key_, Holder{this});
  if (fresh) return;
  at->second.disputed = true;
  throw Error(Code::kInvalidArgument, why_);
}

void NameReservation::settle() {
  NameReservations& all = reservations();
  const std::lock_guard lock(all.mutex);
  const auto at = all.by_key.find(key_);
  if (at != all.by_key.end() && at->second.owner == this && at->second.disputed)
    throw Error(Code::kInvalidArgument, why_);
}

void NameReservation::release() {
  NameReservations& all = reservations();
  const std::lock_guard lock(all.mutex);
  const auto at = all.by_key.find(key_);
  if (at != all.by_key.end() && at->second.owner == this) all.by_key.erase(at);
}

}  // namespace transload
