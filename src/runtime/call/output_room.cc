// Laying out the outputs of a call, and handing out tensors over them.
#include "runtime/call/output_room.h"

#include <string>

#include "base/check.h"

namespace transload {

namespace {

Tensor matrix_on(DLDevice device, const void* data, uint64_t rows, uint64_t columns, DLDataType type) {
  return matrix(data, int64_t(rows), int64_t(columns), type, device);
}

}  // namespace

RowColumns::RowColumns(const TokenShape& shape, uint64_t count, bool own_rows) {
  const uint64_t listed = shape.listed ? count : 0;
  rows = at.take(own_rows ? 0 : count, shape.row_bytes);
  headers = at.take(listed, shape.header_bytes());
  idx = at.take(times(listed, shape.top_k), sizeof(int32_t));
  weights = at.take(times(listed, shape.top_k), sizeof(float));
  source = at.take(listed, 2 * sizeof(int32_t));
  scales = at.take(count, shape.scale_bytes());
}

SumColumns::SumColumns(uint64_t tokens, uint64_t row_bytes, uint32_t weights_of_token, bool own_rows)
    : rows(at.take(own_rows ? 0 : tokens, row_bytes)),
      weights(at.take(times(tokens, weights_of_token), sizeof(float))) {}

DispatchRoom::DispatchRoom(const DispatchForm& form, const DispatchInputs& in, uint64_t rows, DLDevice device)
    : in_(in),
      shape_(form.shape),
      rows_(rows),
      device_(device),
      too_short_(in.out_x.given() && uint64_t(in.out_x.rows()) < rows),
      own_rows_(in.out_x.given() && !too_short_),
      columns_(shape_, rows, own_rows_) {}

LandingPlace DispatchRoom::hand_out(char* base, bool direct, DispatchOutputs& out) const {
  TRANSLOAD_CHECK(base != nullptr || bytes() == 0);
  char* const rows = own_rows_ ? in_.out_x.as<char>() : base + columns_.rows;
  auto put = [&](uint64_t offset, uint64_t columns, DLDataType type) {
    return matrix_on(device_, base + offset, rows_, columns, type);
  };
  out.x = matrix_on(device_, rows, rows_, uint64_t(in_.x.columns()), in_.x.dtype);
  if (shape_.scales > 0) out.scales = put(columns_.scales, shape_.scales, in_.scales.dtype);
  if (shape_.listed) {
    out.topk_idx = put(columns_.idx, shape_.top_k, kI32);
    out.topk_weights = put(columns_.weights, shape_.top_k, kF32);
    out.source = put(columns_.source, 2, kI32);
  }
  out.landing = direct ? Landing::kDirect : Landing::kRing;
  return {.direct = direct, .rows = rows, .row_headers = base + columns_.headers};
}

void DispatchRoom::refuse_if_too_short(int64_t received) const {
  if (!too_short_) return;
  throw Error(Code::kInvalidArgument, "out_x: " + std::to_string(in_.out_x.rows()) + " rows, must be at least " +
                                          std::to_string(received) +
                                          ", what this rank received; the group is still usable");
}

CombineRoom::CombineRoom(const CombineInputs& in, uint32_t weights, DLDevice device)
    : in_(in),
      weights_(weights),
      device_(device),
      columns_(in.handle->tokens, in.x.row_bytes(), weights, in.out_x.given()) {}

void CombineRoom::hand_out(char* base, CombineOutputs& out) const {
  TRANSLOAD_CHECK(base != nullptr || bytes() == 0);
  const uint64_t tokens = in_.handle->tokens;
  out.x = in_.out_x.given() ? in_.out_x
                            : matrix_on(device_, base + columns_.rows, tokens, uint64_t(in_.x.columns()), kBf16);
  if (weights_ > 0) out.topk_weights = matrix_on(device_, base + columns_.weights, tokens, weights_, kF32);
}

}  // namespace transload
