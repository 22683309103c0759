// Laying out the outputs of a call, and handing out tensors over them.
#include "runtime/call/output_room.h"

#include <string>

#include "base/check.h"
#include "runtime/choices.h"

namespace transload {

RowColumns::RowColumns(const TokenShape& shape, uint64_t count, DLDataType idx_type, CallersOutputs elsewhere) {
  const uint64_t listed = shape.listed ? count : 0, rest = elsewhere.rest ? 0 : listed;
  rows = at.take(elsewhere.rows ? 0 : count, shape.row_bytes);
  headers = at.take(listed, shape.header_bytes());
  idx = at.take(times(rest, shape.top_k), idx_type.bits / 8);
  weights = at.take(times(rest, shape.top_k), sizeof(float));
  source = at.take(rest, 2 * sizeof(int32_t));
  scales = at.take(elsewhere.rest ? 0 : count, shape.scale_bytes());
}

SumColumns::SumColumns(uint64_t tokens, uint64_t row_bytes, uint32_t weights_of_token, CallersOutputs elsewhere)
    : rows(at.take(elsewhere.rows ? 0 : tokens, row_bytes)),
      weights(at.take(elsewhere.rest ? 0 : times(tokens, weights_of_token), sizeof(float))) {}

Tensor CallersRoom::ask(Output which, Tensor tensor) {
  tensor.data = room_(which, tensor.bytes());
  const NamedTensor given{word_of(which), tensor};
  check_room(given, taken_);
  taken_.push_back(given);
  return tensor;
}

DispatchRoom::DispatchRoom(const DispatchForm& form, const DispatchInputs& in, uint64_t rows, DLDevice device)
    : in_(in),
      shape_(form.shape),
      rows_(rows),
      device_(device),
      too_short_(in.out_x.given() && uint64_t(in.out_x.rows()) < rows),
      columns_(shape_, rows, in.idx_type, elsewhere()) {
  if (in.out_x.given() && !too_short_) x_ = tensor(uint64_t(in.x.columns()), in.x.dtype, in.out_x.data);
}

Tensor DispatchRoom::tensor(uint64_t columns, DLDataType type, const void* data) const {
  return matrix(data, int64_t(rows_), int64_t(columns), type, device_);
}

void DispatchRoom::ask(const Arena& arena) {
  if (!asks()) return;
  CallersRoom callers(in_.room, {{"x", in_.x},
                                 {"scales", in_.scales},
                                 {"topk_idx", in_.topk_idx},
                                 {"topk_weights", in_.topk_weights},
                                 {"out_x", in_.out_x}});
  if (!in_.out_x.given()) x_ = callers.ask(Output::kX, tensor(uint64_t(in_.x.columns()), in_.x.dtype));
  if (shape_.scales > 0) scales_ = callers.ask(Output::kScales, tensor(shape_.scales, in_.scales.dtype));
  if (shape_.listed) {
    topk_idx_ = callers.ask(Output::kTopkIdx, tensor(shape_.top_k, in_.idx_type));
    topk_weights_ = callers.ask(Output::kTopkWeights, tensor(shape_.top_k, kF32));
    source_ = callers.ask(Output::kSource, tensor(2, kI32));
  }
  if (const char* const name = outside(arena); name != nullptr && in_.landing == Landing::kDirect)
    throw Error(Code::kInvalidArgument, "landing: direct, must be auto or ring: room gave memory for " +
                                            std::string(name) +
                                            " that lies in no lease of this group; the group is still usable");
}

const char* DispatchRoom::outside(const Arena& arena) const {
  const auto leased = [&](const Tensor& t) { return !t.given() || t.bytes() == 0 || arena.holds(t.data, t.bytes()); };
  if (!leased(x_)) return in_.out_x.given() ? "out_x" : "x";
  return leased(scales_) ? nullptr : "scales";
}

LandingPlace DispatchRoom::hand_out(char* base, bool direct, DispatchOutputs& out) const {
  TRANSLOAD_CHECK(base != nullptr || bytes() == 0);
  const auto at = [&](const Tensor& callers, uint64_t offset, uint64_t columns, DLDataType type) {
    return callers.given() ? callers : tensor(columns, type, base + offset);
  };
  out.x = at(x_, columns_.rows, uint64_t(in_.x.columns()), in_.x.dtype);
  if (shape_.scales > 0) out.scales = at(scales_, columns_.scales, shape_.scales, in_.scales.dtype);
  if (shape_.listed) {
    out.topk_idx = at(topk_idx_, columns_.idx, shape_.top_k, in_.idx_type);
    out.topk_weights = at(topk_weights_, columns_.weights, shape_.top_k, kF32);
    out.source = at(source_, columns_.source, 2, kI32);
  }
  out.landing = direct ? Landing::kDirect : Landing::kRing;
  return {.direct = direct, .rows = out.x.as<char>(), .row_headers = base + columns_.headers};
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
      columns_(in.handle->tokens, in.x.row_bytes(), weights, elsewhere()),
      x_(in.out_x),
      topk_weights_(in.out_topk_weights) {}

void CombineRoom::ask() {
  if (!in_.room) return;
  CallersRoom callers(in_.room, {{"x", in_.x},
                                 {"topk_weights", in_.topk_weights},
                                 {"bias[0]", in_.bias[0]},
                                 {"bias[1]", in_.bias[1]},
                                 {"out_x", in_.out_x},
                                 {"out_topk_weights", in_.out_topk_weights}});
  const uint64_t tokens = in_.handle->tokens;
  if (!x_.given()) x_ = callers.ask(Output::kX, matrix(nullptr, int64_t(tokens), in_.x.columns(), kBf16, device_));
  if (weights_ > 0 && !topk_weights_.given())
    topk_weights_ =
        callers.ask(Output::kTopkWeights, matrix(nullptr, int64_t(tokens), int64_t(weights_), kF32, device_));
}

void CombineRoom::hand_out(char* base, CombineOutputs& out) const {
  TRANSLOAD_CHECK(base != nullptr || bytes() == 0);
  const uint64_t tokens = in_.handle->tokens;
  const auto at = [&](const Tensor& callers, uint64_t offset, uint64_t columns, DLDataType type) {
    return callers.given() ? callers : matrix(base + offset, int64_t(tokens), int64_t(columns), type, device_);
  };
  out.x = at(x_, columns_.rows, uint64_t(in_.x.columns()), kBf16);
  if (weights_ > 0) out.topk_weights = at(topk_weights_, columns_.weights, weights_, kF32);
}

}  // namespace transload
