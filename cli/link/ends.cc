// Meeting, waiting and parting of the two ends of a link.
#include "cli/link/ends.h"

#include <algorithm>

#include "cli/link/said.h"
#include "cli/show/usage.h"
#include "control/fault.h"

namespace transload::cli {
namespace {

std::vector<uint32_t> two_nodes(uint32_t ranks) {
  std::vector<uint32_t> node_of(ranks);
  for (uint32_t r = 0; r < ranks; ++r) node_of[r] = r < ranks / 2 ? 0 : 1;
  return node_of;
}

}  // namespace

LinkEnds::LinkEnds(const Bootstrap& bootstrap, uint32_t deadline_ms)
    : rank(bootstrap.rank),
      ranks(bootstrap.ranks),
      other((rank + ranks / 2) % ranks),
      control_(bootstrap, ControlWaits(deadline_ms), two_nodes(ranks)),
      deadline_ms_(deadline_ms) {
  gather("");  // the address is known after this round
  control_.made();
}

uint64_t LinkEnds::most(uint64_t mine) {
  uint64_t all = 0;
  const std::vector<std::string> said = gather(NumberSaid::pack(mine));
  for (uint32_t r = 0; r < ranks; ++r) all = std::max(all, NumberSaid::unpack(r, said[r]));
  return all;
}

void LinkEnds::all_or_none(const std::function<void()>& step) {
  std::string mine;
  try {
    step();
  } catch (const Error& error) {
    if (error.code() == Code::kFault) throw;
    mine = error.what();
  } catch (const UsageError& error) {
    mine = error.what();
  }
  const std::vector<std::string> all = gather(mine);
  for (uint32_t r = 0; r < ranks; ++r)
    if (!all[r].empty()) refuse("{} (rank {})", all[r], r);
}

void LinkEnds::nap(int fd) {
  if (fd < 0) {
    ::usleep(50);
    return;
  }
  pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
  ::poll(&waited, 1, 1);
}

void LinkEnds::give_up(Goal goal, Word seen, uint64_t since, const std::string& reason) {
  control_.accuse(
      {.rank = rank, .epoch = 1, .whom = other, .seen = seen, .expected = goal.least, .waited = now_ns() - since},
      since);
  fault(goal, seen, since, reason);
}

void LinkEnds::fault(Goal goal, Word seen, uint64_t since, const std::string& reason) {
  Fault fault = fault_of(control_.verdict(), {rank, "link", now_ns() - since, true});
  fault.waiting_for = std::string(goal.what) + " rank " + std::to_string(other);
  fault.seen = seen;
  fault.expected = goal.least;
  if (!reason.empty()) fault.detail += "; " + reason;
  throw Error(fault);
}

}  // namespace transload::cli
