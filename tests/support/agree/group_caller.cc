// Moves tensors to a group and back, around each call.
#include "tests/support/agree/group_caller.h"

namespace transload::test {

// Copies all that lies between a tensor's first and last element, whatever its strides, to where the group is.
Tensor GroupCaller::give(const Tensor& host) {
  if (!host.given()) return host;
  Tensor there = host;
  there.device = side_.device();
  const int64_t last = (host.rows() - 1) * host.strides[0] + (host.columns() - 1) * host.strides[1];
  const int64_t elements = host.rows() > 0 ? last + 1 : 0;
  there.data = side_.put(list(host.data, elements, host.dtype)).data;
  return there;
}

Tensor GroupCaller::in_room(const Tensor& host) const {
  if (!host.given()) return host;
  Tensor there = host;
  there.device = side_.device();
  there.data = room_there_ + (host.as<char>() - room_here_);
  return there;
}

DispatchOutputs GroupCaller::dispatch(const DispatchInputs& given) {
  side_.reset();
  DispatchInputs in = given;
  for (Tensor* tensor : {&in.x, &in.scales, &in.topk_idx, &in.topk_weights}) *tensor = give(*tensor);
  in.stream = side_.stream();
  DispatchOutputs out = group_.dispatch(in);
  if (on_gpu()) {
    group_.wait(in.stream);  // throws if the call failed for want of room
    const DispatchReport report = group_.report(out.handle, in.stream);
    out.rows = report.rows;
    out.rows_needed = report.rows_needed;
    if (out.topk_idx.given()) out.expert_counts = report.expert_counts;
    out.scale_out_rows = report.scale_out_rows;
    out.status = report.status;
  }
  for (Tensor* tensor : {&out.x, &out.scales, &out.topk_idx, &out.topk_weights, &out.source})
    *tensor = side_.take(*tensor);
  return out;
}

ExpertRoom GroupCaller::room(size_t bytes, bool leased) {
  side_.reset();
  ExpertRoom out;
  if (leased) out.lease = group_.lease(bytes);
  if (on_gpu() || !leased) out.own = Private(bytes);
  room_there_ =
      leased ? static_cast<char*>(out.lease.data()) : static_cast<char*>(on_gpu() ? side_.room(bytes) : out.own.data());
  out.at = room_here_ = on_gpu() ? out.own.data() : room_there_;
  room_bytes_ = bytes;
  return out;
}

CombineOutputs GroupCaller::combine(const CombineInputs& given) {
  if (on_gpu()) side_.write(room_there_, room_here_, room_bytes_);
  CombineInputs in = given;
  for (Tensor* tensor : {&in.x, &in.topk_weights}) *tensor = in_room(*tensor);
  for (Tensor& bias : in.bias) bias = give(bias);
  in.stream = side_.stream();
  CombineOutputs out = group_.combine(in);
  if (on_gpu()) {
    group_.wait(in.stream);
    out.scale_out_rows = group_.report(in.handle, in.stream).scale_out_rows;
  }
  for (Tensor* tensor : {&out.x, &out.topk_weights}) *tensor = side_.take(*tensor);
  return out;
}

}  // namespace transload::test
