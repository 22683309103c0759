// Group::combine on GPUs: one kernel, and no host wait.
#include "base/check.h"
#include "gpu/driver.h"
#include "kernels/near.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/combine_form.h"
#include "runtime/call/handle.h"
#include "runtime/call/outcome.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/cuda/device_handle_block.h"

namespace transload {

namespace {

class CudaCombine {
 public:
  CudaCombine(CudaGroup& group, const CombineInputs& in)
      : g_(group),
        facts_(group.facts()),
        state_(group.state()),
        in_(in),
        handle_(*in.handle),
        on_device_(in.handle->device->on_device),
        stream_(group.stream_of(in.stream)),
        form_(group.state(), in),
        outcome_(group.state(), form_, in, group.options.device) {
    TRANSLOAD_CHECK(in.x.row_bytes() <= group.options.row_bytes_max && form_.weights <= group.options.top_k_max);
    form_.card.handle = state_.common_id;
  }

  CombineOutputs run() {
    pull_ = choose_source(state_, in_, out_);
    outcome_.take(facts_.buffers.spare_sum);
    g_.join_stream(in_.stream, in_.deadline_ms, "combine");
    spans_ = g_.spans_for(handle_, form_.channels, in_.stream);
    move_rows();
    g_.keep_if_captured(in_.stream, in_.handle, outcome_.block());
    outcome_.throw_failure();
    out_.scale_out_rows = handle_.report.scale_out_rows;
    return std::move(out_);
  }

 private:
  CombineTrip trip() const {
    CombineTrip t = trip_of(form_, in_,
                            {.up_positions = facts_.buffers.combine_up.view(),
                             .rail_positions = facts_.buffers.combine_rail.view(),
                             .handle = view_of(on_device_.tables),
                             .forward = {spans_.forward, form_.channels},
                             .rows_of = {spans_.arriving, form_.channels}},
                            out_);
    t.call = facts_.call(form_.card, g_.options.sms * kWarpsOfBlock);
    t.spare_out = outcome_.failed();
    return t;
  }

  Cast cast() const {
    if (g_.map.nodes == 1) return pull_ ? whole_cast({.receivers = 8}) : whole_cast({.receivers = 4, .senders = 4});
    return pull_ ? whole_cast({.forwarders = 4, .receivers = 4})
                 : whole_cast({.forwarders = 3, .receivers = 3, .senders = 2});
  }

  void move_rows() {
    g_.set_phase(Phase::kCombine);
    const CombineLaunch launch{.trip = trip(),
                               .board = facts_.buffers.board,
                               .call = facts_.device_call(on_device_.born),
                               .near = facts_.near_shape(0),
                               .areas = facts_.areas(out_.x, out_.topk_weights),
                               .cast = cast(),
                               .grants = {.offer = offer_of(state_.board, pull_, in_, form_.rows_max),
                                          .row_base = on_device_.tables.row_base,
                                          .room = facts_.buffers.grants},
                               .queue = facts_.rail_queue()};
    TRANSLOAD_CHECK(spans_.forward != nullptr && spans_.arriving != nullptr);
    TRANSLOAD_CHECK(launch.cast.receivers >= 2);  // the last two warps open the call, and senders come before those
    g_.launched(facts_.kernels.combine(launch, stream_), "combine");
    g_.end_call(in_.stream);
  }

  CudaGroup& g_;
  const LaunchFacts& facts_;
  RankState& state_;
  const CombineInputs& in_;
  const HandleData& handle_;
  const DeviceHandle& on_device_;
  CUstream_st* const stream_;
  CombineForm form_;
  DeviceSpans spans_;
  bool pull_ = false;
  CombineOutcome outcome_;
  CombineOutputs& out_ = outcome_.out;
};

}  // namespace

CombineOutputs CudaGroup::combine(const CombineInputs& inputs) {
  check_combine(state_, inputs);
  const OnDevice here(device_);
  return whole_call("combine", [&] { return CudaCombine(*this, inputs).run(); });
}

}  // namespace transload
