// Steps that all ranks of a group do, or none: see group_making.h.
#include "runtime/group_making.h"

#include <new>

#include "runtime/said.h"

namespace transload {

void GroupMaking::all_or_none(const std::function<void()>& step) {
  StepSaid mine;
  try {
    step();
  } catch (const Error& error) {
    if (error.code() == Code::kFault) throw;
    mine = {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    mine = {Code::kOutOfMemory, "group: this process has no memory left to make it"};
  }
  const std::vector<StepSaid> all = gather(mine.pack(), StepSaid::unpack);
  for (uint32_t r = 0; r < state().map.ranks; ++r)
    if (all[r].code != Code::kOk)
      throw Error(all[r].code, all[r].why + (state().map.ranks > 1 ? " (rank " + std::to_string(r) + ")" : ""));
}

}  // namespace transload
