// Which names the groups of this process have: see name_claim.h.
#include "runtime/name_claim.h"

#include <unistd.h>

#include <map>
#include <mutex>

#include "transload/status.h"

namespace transload {

namespace {

struct Claim {
  const NameClaim* owner;
  bool disputed = false;
};

// Never destroyed: groups may outlive static objects.
std::mutex& mutex = *new std::mutex;
std::map<std::string, Claim>& claims = *new std::map<std::string, Claim>;

// A forked child has none of its parent's groups.
std::string key_of(const Bootstrap& b) {
  return std::to_string(::getpid()) + " " + b.host + ":" + std::to_string(b.port) + " " + std::to_string(b.rank) + " " +
         std::to_string(b.job.size()) + " " + b.job + b.name;
}

}  // namespace

NameClaim::NameClaim(const Bootstrap& bootstrap)
    : key_(key_of(bootstrap)),
      why_("bootstrap.name: \"" + bootstrap.name + "\": rank " + std::to_string(bootstrap.rank) +
           " makes two groups of this name at the same time, must give each another") {
  if (bootstrap.port == 0) return;  // a rendezvous of its own
  std::lock_guard lock(mutex);
  const auto [at, fresh] = claims.emplace(key_, Claim{this});
  if (fresh) return;
  at->second.disputed = true;
  throw Error(Code::kInvalidArgument, why_);
}

void NameClaim::settle() {
  std::lock_guard lock(mutex);
  const auto at = claims.find(key_);
  if (at != claims.end() && at->second.owner == this && at->second.disputed) throw Error(Code::kInvalidArgument, why_);
}

void NameClaim::release() {
  std::lock_guard lock(mutex);
  const auto at = claims.find(key_);
  if (at != claims.end() && at->second.owner == this) claims.erase(at);
}

}  // namespace transload
