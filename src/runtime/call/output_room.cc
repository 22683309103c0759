// See output_room.h.
#include "runtime/call/output_room.h"

#include <string>

namespace transload {

namespace {

Tensor matrix_on(DLDevice device, const void* data, uint64_t rows, uint64_t columns, DLDataType type) {
  Tensor tensor = matrix(data, int64_t(rows), int64_t(columns), type);
  tensor.device = device;
  return tensor;
}

}  // namespace

DispatchRoom::DispatchRoom(const DispatchForm& form, const DispatchInputs& in, uint64_t rows, DLDevice device)
    : in_(in),
      shape_(form.shape),
      rows_(rows),
      device_(device),
      too_short_(in.out_x.given() && uint64_t(in.out_x.rows()) < rows),
      own_rows_(in.out_x.given() && !too_short_) {
  const uint64_t listed = shape_.listed ? rows : 0;
  rows_at_ = at_.take(own_rows_ ? 0 : rows, shape_.row_bytes);
  headers_at_ = at_.take(listed, shape_.header_bytes());
  idx_at_ = at_.take(times(listed, shape_.top_k), sizeof(int32_t));
  weights_at_ = at_.take(times(listed, shape_.top_k), sizeof(float));
  source_at_ = at_.take(listed, 2 * sizeof(int32_t));
  scales_at_ = at_.take(rows, shape_.scale_bytes());
}

LandingPlace DispatchRoom::hand_out(char* base, bool direct, DispatchOutputs& out) const {
  char* const rows = own_rows_ ? in_.out_x.as<char>() : base + rows_at_;
  auto put = [&](uint64_t offset, uint64_t columns, DLDataType type) {
    return matrix_on(device_, base + offset, rows_, columns, type);
  };
  out.x = matrix_on(device_, rows, rows_, uint64_t(in_.x.columns()), in_.x.dtype);
  if (shape_.scales > 0) out.scales = put(scales_at_, shape_.scales, in_.scales.dtype);
  if (shape_.listed) {
    out.topk_idx = put(idx_at_, shape_.top_k, kI32);
    out.topk_weights = put(weights_at_, shape_.top_k, kF32);
    out.source = put(source_at_, 2, kI32);
  }
  out.landing = direct ? Landing::kDirect : Landing::kRing;
  return {.direct = direct, .rows = rows, .row_headers = base + headers_at_};
}

void DispatchRoom::refuse_if_too_short(int64_t received) const {
  if (!too_short_) return;
  throw Error(Code::kInvalidArgument, "out_x: " + std::to_string(in_.out_x.rows()) + " rows, must be at least " +
                                          std::to_string(received) +
                                          ", what this rank received; the group is still usable");
}

CombineRoom::CombineRoom(const CombineInputs& in, uint32_t weights, DLDevice device)
    : in_(in), weights_(weights), device_(device) {
  const uint64_t tokens = in.handle->tokens;
  rows_at_ = at_.take(in.out_x.given() ? 0 : tokens, in.x.row_bytes());
  weights_at_ = at_.take(times(tokens, weights), sizeof(float));
}

void CombineRoom::hand_out(char* base, CombineOutputs& out) const {
  const uint64_t tokens = in_.handle->tokens;
  out.x = in_.out_x.given() ? in_.out_x : matrix_on(device_, base + rows_at_, tokens, uint64_t(in_.x.columns()), kBf16);
  if (weights_ > 0) out.topk_weights = matrix_on(device_, base + weights_at_, tokens, weights_, kF32);
}

}  // namespace transload
