// Deciding where a rank on a GPU stands, whether its proxy is stuck, and whom it complains of.
#include "runtime/kernel_watch.h"

#include <algorithm>

#include "base/time_units.h"
#include "channel/command.h"
#include "control/fault.h"
#include "kernels/device_call.h"
#include "runtime/awaited.h"

namespace transload {

namespace {

static_assert(uint32_t(Phase::kCombine) >> kPhaseBits == 0, "the last phase has room in running_word");

// Whether a thread puts kernels of a call on a stream, or some are there, or one runs, which may be a replayed graph's.
bool in_call(const KernelLook& look) {
  return look.on_stream || look.running != 0 || look.waits_for.peer != 0 || look.waits_for.to_finish != 0 ||
         look.behind;
}

}  // namespace

KernelConclusion KernelWatch::look(const KernelLook& look) {
  const bool in_call = transload::in_call(look);
  KernelConclusion out;
  out.leave = look.judged;
  out.rest = look.turns && !in_call;
  out.epoch = look.running != 0 ? running_epoch(look.running) : look.ended + in_call;
  out.phase = look.running != 0 ? Phase(running_phase(look.running)) : in_call ? look.phase : Phase::kIdle;
  out.whom = in_call ? awaited(look.waits_for, me_) : kNobody;
  // Once the context is lost, whoever lost it, kernels tell nothing, and the others would wait for their deadline.
  if (!look.lost_context.empty() && !context_told_) {
    context_told_ = true;
    out.failures.push_back("its GPU's context is lost: " + look.lost_context);
  }
  if (proxy_stuck(look, in_call) && !proxy_told_) {
    proxy_told_ = true;
    out.failures.push_back("its proxy has stood still for " + std::to_string(stuck_looks_ * kLookMs) + " ms of a call");
  }
  return out;
}

// Whether the proxy stands still, found before others, who wait for what it should have sent, accuse each other. Looks
// are counted and not time, because a process that was stopped has not looked.
bool KernelWatch::proxy_stuck(const KernelLook& look, bool in_call) {
  if (!look.turns) return false;
  stuck_looks_ = in_call && *look.turns == turns_ ? stuck_looks_ + 1 : 0;
  turns_ = *look.turns;
  constexpr uint32_t kNapsMs = 200;  // above the 50 ms that a napping proxy takes for a turn
  const uint64_t patience_ms = room_patience_ns(look.deadline_ms * kMillisecondNs) / kMillisecondNs;
  return stuck_looks_ * kLookMs > std::max<uint64_t>(patience_ms, kNapsMs);
}

std::optional<Complaint> KernelWatch::complain(const DeviceFault& fault, Word ended) {
  const auto failure = DeviceFailure(fault.set);
  const std::lock_guard lock(telling_);
  if (told_ || failure == DeviceFailure::kNone) return std::nullopt;
  told_ = true;
  if (failure == DeviceFailure::kExpired) {
    const WaitRecord wait = wait_of(fault);
    if (wait.what == Waiting::kRoom) return Complaint{.text = "its proxy takes no commands"};
    // The kernel has left: its wait cannot begin again, even if this process was stopped meanwhile.
    return Complaint{
        .about = Complaint::About::kLateRank,
        .suspicion = {.rank = me_, .epoch = ended + 1, .whom = wait.whom, .seen = wait.seen, .expected = wait.expected},
        .waited_ns = fault.deadline_ns};
  }
  if (failure != DeviceFailure::kBroken) return std::nullopt;
  const BrokenRecord broken{.role = Role(fault.role),
                            .channel = int32_t(fault.channel),
                            .what = Broken(fault.what),
                            .rank = uint32_t(fault.whom),
                            .seen = fault.seen,
                            .expected = fault.expected};
  const bool same_call = broken.what != Broken::kHeader;  // a kernel may say kHeader before it has compared cards
  return Complaint{.about = Complaint::About::kBrokenPromise,
                   .text = text_of(broken, me_),
                   .culprit = broken.rank,
                   .certain = same_call && of_one_rank(broken)};
}

WaitRecord wait_of(const DeviceFault& fault) {
  if (DeviceFailure(fault.set) != DeviceFailure::kExpired) return {};
  return {.present = true,
          .role = Role(fault.role),
          .channel = int32_t(fault.channel),
          .what = Waiting(fault.what),
          .whom = uint32_t(fault.whom),
          .seen = fault.seen,
          .expected = fault.expected,
          .waited_ms = double(fault.deadline_ns / kMillisecondNs)};
}

}  // namespace transload
