// Finding room for the outputs of a call, or a reason to keep none.
#include "runtime/call/outcome.h"

#include "base/check.h"
#include "runtime/call/decisions.h"
#include "runtime/call/whole_call.h"

namespace transload {

namespace {

// What the step throws, if anything.
template <class Step>
std::exception_ptr thrown_by(Step step) {
  try {
    step();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

bool on_host(DLDevice device) { return device.device_type == kDLCPU; }

}  // namespace

void DispatchOutcome::ask(uint64_t rows) {
  room_.emplace(form_, in_, rows, device_);
  if (!failure_) failure_ = thrown_by([&] { room_->ask(*rank_.arena); });
}

void DispatchOutcome::fail_later(const Error& error) {
  if (!failure_) failure_ = std::make_exception_ptr(error);
}

void DispatchOutcome::take(const HandleData& handle) {
  TRANSLOAD_CHECK(room_.has_value());
  const bool wants_slab = room_->needs_lease() && !(on_host(device_) && in_.landing == Landing::kRing);
  if (!failure_ && wants_slab) block_ = rank_.arena->take(room_->bytes());
  slabs_full_ = !failure_ && wants_slab && !block_;
  if (slabs_full_ && !on_host(device_)) fail_later(rank_.no_room("the outputs of a dispatch", room_->bytes()));
  if (failure_) {
    landing_ = form_.keep_no_row(rank_.board);
    return;
  }
  const CallChoice landing = landing_of(in_.landing, {.bytes = room_->bytes(),
                                                      .leased = !slabs_full_,
                                                      .outside = room_->outside(*rank_.arena),
                                                      .gap_bytes = slabs_full_ ? rank_.arena->longest_gap() : 0});
  rank_.decide("landing", landing.name, landing.why);
  if (in_.landing == Landing::kDirect && !landing.reachable)
    fail_later(Error(Code::kOutOfMemory, "landing: direct, but " + landing.why + "; the group is still usable"));
  if (!block_ && room_->needs_lease()) block_ = private_block(room_->bytes());
  landing_ = room_->hand_out(block_ ? block_->data : nullptr, landing.reachable, out);
  out.lease = Lease(block_);
  out.rows = int64_t(handle.rows_kept());
  out.rows_needed = int64_t(handle.rows_needed());
}

void DispatchOutcome::throw_failure() const {
  if (failure_) throw CallersFailure{failure_};
  room_->refuse_if_too_short(out.rows);
}

void CombineOutcome::take(char* spare) {
  CombineRoom room(in_, form_.weights, device_);
  failure_ = thrown_by([&] { room.ask(); });
  if (failure_) return keep_no_sum(spare);
  block_ = rank_.arena->take(room.bytes());
  if (!block_ && on_host(device_)) block_ = private_block(room.bytes());
  if (!block_) {
    failure_ = std::make_exception_ptr(rank_.no_room("the outputs of a combine", room.bytes()));
    return keep_no_sum(spare);
  }
  room.hand_out(block_->data, out);
  out.lease = Lease(block_);
}

void CombineOutcome::keep_no_sum(char* spare) {
  const uint64_t row_bytes = in_.x.row_bytes();
  if (spare == nullptr) {
    block_ = private_block(spare_sum_bytes(row_bytes, form_.weights));
    out.lease = Lease(block_);
    spare = block_->data;
  }
  out.x = matrix(spare, 1, in_.x.columns(), kBf16, device_);
  if (form_.weights > 0) out.topk_weights = matrix(spare + row_bytes, 1, form_.weights, kF32, device_);
}

void CombineOutcome::throw_failure() const {
  if (failure_) throw CallersFailure{failure_};
}

}  // namespace transload
