// The wait for one word over every path of a network, while a group is made whose ranks run no fibers yet.
#include <sched.h>

#include "os/clock.h"
#include "runtime/group_impl.h"

namespace transload {

// Suspects a rank whose word has not come by the deadline, one at a time. Withdraws that if the word comes after all.
void Group::Impl::await_paths(ScaleOut& network, std::vector<AwaitedPath> open) {
  const RankState& own = state();
  const uint64_t entered = now_ns(), patience = uint64_t(own.options.create_deadline_ms) * kMillisecondNs;
  uint64_t since = entered;
  uint32_t suspected = kNobody;
  const auto heard = [this](const AwaitedPath& path) { return net_word(path.word) != 0; };
  const auto fault = [&](const Verdict& verdict) { return Error(control->fault(verdict, "create", entered)); };
  for (;;) {
    control->heed_interrupt();
    heed_lack(&network, double(now_ns() - since) / kMillisecondNs);
    if (control->abort_word().load(std::memory_order_acquire) != 0) throw fault(control->verdict());
    const bool moved = network.progress();
    std::erase_if(open, heard);
    const uint32_t whom = open.empty() ? network.busy_with() : open[0].rank;
    if (suspected != kNobody && suspected != whom) {
      control->withdraw();
      suspected = kNobody;
    }
    if (whom == kNobody) break;
    if (suspected == kNobody && now_ns() - since > patience) {
      if (control->suspect({.rank = own.map.me, .epoch = 0, .whom = whom, .seen = 0, .expected = 1}, since))
        suspected = whom;
      else
        since = now_ns();
    }
    if (!moved) sched_yield();
  }
  // The suspected word may have come just when its rank was judged.
  if (const Verdict verdict = control->settled(); verdict.kind != FaultKind::kNone) throw fault(verdict);
}

}  // namespace transload
