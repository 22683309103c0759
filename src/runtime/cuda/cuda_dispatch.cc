// Group::dispatch on GPUs: kernels in the order of the caller's stream. The host waits only for the number of rows.
#include <algorithm>

#include "base/check.h"
#include "gpu/driver.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/dispatch_form.h"
#include "runtime/call/handle.h"
#include "runtime/call/outcome.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/cuda/device_handle_block.h"

namespace transload {

namespace {

class CudaDispatch {
 public:
  CudaDispatch(CudaGroup& group, const DispatchInputs& in)
      : g_(group),
        facts_(group.facts()),
        state_(group.state()),
        in_(in),
        stream_(group.stream_of(in.stream)),
        form_(group.state(), in),
        outcome_(group.state(), form_, in, group.options.device) {
    const GroupOptions& most = group.options;  // the bounds that buffers and spare room are made for
    TRANSLOAD_CHECK(form_.tokens <= most.tokens_max && form_.shape.top_k <= most.top_k_max);
    TRANSLOAD_CHECK(form_.channels <= most.channels && form_.shape.row_bytes <= most.row_bytes_max);
    form_.card.handle = state_.common_id;
  }

  DispatchOutputs run() {
    handle_ = in_.handle;
    if (waits()) {
      if (g_.capturing(in_.stream))
        throw Error(Code::kInvalidArgument,
                    "rows_max: 0 while the stream is captured, must be at least 1: the host cannot wait for a count");
      g_.refuse_to_wait();
    }
    g_.join_stream(in_.stream, in_.deadline_ms, "dispatch");
    if (!waits()) ask_for_room();  // before a kernel of this call waits for other ranks
    if (form_.first)
      notify();
    else
      begin_cached();
    if (waits()) ask_for_room();
    TRANSLOAD_CHECK(handle_ != nullptr);
    outcome_.take(*handle_);
    move_tokens();
    return finish();
  }

 private:
  // Whether the host waits for the number of rows.
  bool waits() const { return form_.first && form_.rows_max == kNoRowsMax; }

  ScaleSource scales_to_stage() const { return form_.stages_scales() ? form_.scales : ScaleSource{}; }

  void begin_cached() {
    g_.set_phase(Phase::kDispatch);
    headers_ = facts_.buffers.cached_headers;
    if (form_.stages_scales())
      g_.launched(launch_headers({.call = facts_.device_call(nullptr),
                                  .shape = form_.shape,
                                  .me = g_.map.me,
                                  .tokens = form_.tokens,
                                  .scales = scales_to_stage(),
                                  .staged_scales = facts_.buffers.scales,
                                  .headers = nullptr},
                                 stream_),
                  "headers");
    on_device_ = handle_->device->on_device;
    spans_ = g_.spans_for(*handle_, form_.channels, in_.stream);
  }

  void take_handle_room() {
    sizes_ = handle_sizes(state_, form_.tokens, form_.shape.top_k, form_.channels);
    const uint64_t bytes = lay_handle(on_device_, sizes_, nullptr);
    handle_room_ = state_.arena->take(bytes);
    if (!handle_room_) outcome_.fail_later(state_.no_room("a handle", bytes));
    lay_handle(on_device_, sizes_, handle_room_ ? handle_room_->data : facts_.buffers.spare_handle);
    spans_ = {on_device_.forward, on_device_.arriving};
  }

  // Sends counts to everyone. Afterwards the host knows how many rows come, if it waits for that.
  void notify() {
    take_handle_room();
    g_.set_phase(Phase::kNotify);
    headers_ = facts_.buffers.headers;
    g_.launched(launch_layout(layout_args(), stream_), "layout");
    dispatch_number_ = g_.number_dispatch();
    const NotifyLaunch launch{.trip = {.call = facts_.call(form_.card, 0),
                                       .use = 0,
                                       .to_peers = facts_.buffers.counts_to_peers,
                                       .to_nodes = facts_.buffers.counts_to_nodes,
                                       .channels_max = state_.geometry.channels},
                              .board = facts_.buffers.board,
                              .plan = plan_args(),
                              .call = facts_.device_call(nullptr),
                              .near = facts_.near_shape(0),
                              .areas = facts_.areas(),
                              .queue = facts_.rail_queue()};
    g_.launched(facts_.kernels.notify(launch, stream_), "notify");
    g_.mark_end(in_.stream);
    if (waits()) g_.await_report(dispatch_number_);
    keep_handle();
  }

  LayoutArgs layout_args() const {
    LayoutArgs layout{.call = facts_.device_call(nullptr),
                      .map = facts_.buffers.board.map,
                      .experts = facts_.buffers.experts,
                      .geometry = state_.geometry,
                      .shape = form_.shape,
                      .routing = form_.routing,
                      .scales = scales_to_stage(),
                      .channels = form_.channels,
                      .scratch = facts_.buffers.layout,
                      .staged_scales = facts_.buffers.scales,
                      .headers = headers_,
                      .routes = on_device_.tables.routes,
                      .counts_to_peers = facts_.buffers.counts_to_peers,
                      .counts_to_nodes = facts_.buffers.counts_to_nodes,
                      .report = on_device_.report};
    layout.call.blocks = std::min(g_.options.sms, kLayoutBlocksMax);
    return layout;
  }

  PlanArgs plan_args() const {
    const DeviceCall call = facts_.device_call(nullptr);
    return {.board = nullptr,
            .experts = facts_.buffers.experts,
            .channels = form_.channels,
            .alignment = in_.expert_alignment,
            .handle = on_device_,
            .counts_to_nodes = facts_.buffers.counts_to_nodes,
            .state = call.state,
            .host = call.host,
            .host_counts = waits() ? g_.page().awaited_counts_on_device() : nullptr,
            .awaited_dispatch = waits() ? dispatch_number_ : 0,
            .seal = seal_of(dispatch_number_),
            .rows_max = form_.rows_max,
            .fails = in_.overflow == Overflow::kFail};
  }

  void keep_handle() {
    TRANSLOAD_CHECK(!waits() || g_.page().words().report.seal == seal_of(dispatch_number_));
    auto made = form_.new_handle(state_);
    made->log_width = uint32_t(sizes_.tables.log_width);
    made->overflow = in_.overflow;
    if (waits()) made->report = g_.report_of(*made, g_.page().words().report, g_.page().awaited_counts());
    // If the host did not wait, only the device knows how many came.
    made->device_rows = waits() ? uint64_t(made->report.rows_needed) : form_.rows_max;
    made->device = std::make_shared<DeviceHandleBlock>(DeviceHandleBlock{
        .on_device = on_device_, .room = handle_room_, .seal = seal_of(dispatch_number_), .channels = form_.channels});
    handle_ = made;
  }

  // The caller's own function gives the room, if it has one.
  void ask_for_room() {
    TRANSLOAD_CHECK(handle_ != nullptr || !waits());  // otherwise the number of rows is not known yet
    const uint64_t rows = handle_ ? handle_->device_rows : form_.rows_max;
    outcome_.ask(rows);
  }

  DispatchTables tables() const {
    return {.up_positions = facts_.buffers.dispatch_up.view(),
            .rail_positions = facts_.buffers.dispatch_rail.view(),
            .experts = facts_.buffers.experts,
            .handle = view_of(on_device_.tables),
            .made = form_.first ? on_device_.tables : HandleTables{},
            .log_width = handle_->log_width,
            .forward = {spans_.forward, form_.channels},
            .arriving = {spans_.arriving, form_.channels},
            .log_entries = handle_sizes(state_, 0, 1, 1).tables.entries,
            .scales = form_.scale_rows(facts_.buffers.scales),
            .headers = headers_};
  }

  // Receivers are needed beside senders only where rows come through rings.
  Cast cast() const {
    if (g_.map.nodes == 1)
      return outcome_.landing().direct ? whole_cast({.senders = 8}) : whole_cast({.receivers = 4, .senders = 4});
    return outcome_.landing().direct ? whole_cast({.forwarders = 4, .senders = 4})
                                     : whole_cast({.forwarders = 3, .receivers = 2, .senders = 3});
  }

  void move_tokens() {
    TRANSLOAD_CHECK(handle_ != nullptr && headers_ != nullptr);
    TRANSLOAD_CHECK(spans_.forward != nullptr && spans_.arriving != nullptr);
    g_.set_phase(Phase::kDispatch);
    DispatchLaunch launch{.trip = trip_of(form_, tables(), outcome_.landing(), out_),
                          .board = facts_.buffers.board,
                          .call = facts_.device_call(form_.first ? nullptr : on_device_.born),
                          .near = facts_.near_shape(form_.shape.bytes() - form_.shape.row_bytes),
                          .areas = facts_.areas(out_.x, out_.scales),
                          .cast = cast(),
                          .grants = {.offer = offer_of(state_.board, outcome_.landing(), out_, form_.rows_max),
                                     .row_base = on_device_.tables.row_base,
                                     .room = facts_.buffers.grants},
                          .opens = !form_.first,
                          .queue = facts_.rail_queue()};
    launch.trip.call = facts_.call(form_.card, g_.options.sms * (launch.cast.forwarders + launch.cast.senders));
    g_.launched(facts_.kernels.dispatch(launch, stream_), "dispatch");
    if (form_.first && !waits() && !outcome_.failed()) finish_rows();
    g_.end_call(in_.stream);
  }

  void finish_rows() {
    const bool wide = same_type(out_.topk_idx.dtype, kI64);
    const RecountArgs recount{.call = facts_.device_call(nullptr),
                              .report = on_device_.report,
                              .topk_idx = wide ? nullptr : out_.topk_idx.as<int32_t>(),
                              .wide_idx = wide ? out_.topk_idx.as<int64_t>() : nullptr,
                              .topk_weights = out_.topk_weights.as<float>(),
                              .rows_max = form_.rows_max,
                              .top_k = form_.shape.top_k,
                              .experts = state_.experts.experts_of(g_.map.me),
                              .alignment = in_.expert_alignment,
                              .expert_counts = on_device_.expert_counts};
    g_.launched(launch_recount(recount, stream_), "recount");
  }

  DispatchOutputs finish() {
    g_.keep_if_captured(in_.stream, handle_, outcome_.block());
    outcome_.throw_failure();
    const DispatchReport& report = handle_->report;
    out_.handle = handle_;
    out_.scale_out_rows = report.scale_out_rows;
    out_.source_rows = report.source_rows;
    out_.rows_on_device = g_.on_device(&on_device_.report->rows_needed, 1, kI64);
    out_.rows_of_sources_on_device = g_.on_device(on_device_.source_rows, int64_t(g_.map.ranks), kI64);
    if (!form_.first) return std::move(out_);
    out_.status = report.status;
    out_.expert_counts = report.expert_counts;
    out_.expert_counts_on_device =
        g_.on_device(on_device_.expert_counts, int64_t(state_.experts.experts_of(g_.map.me)), kI64);
    return std::move(out_);
  }

  CudaGroup& g_;
  const LaunchFacts& facts_;
  RankState& state_;
  const DispatchInputs& in_;
  CUstream_st* const stream_;
  DispatchForm form_;
  Handle handle_;
  DeviceHandleSizes sizes_{};  // only in a first dispatch
  DeviceHandle on_device_{};
  std::shared_ptr<Lease::Block> handle_room_;
  Word dispatch_number_ = 0;  // number of a first dispatch
  DeviceSpans spans_;
  char* headers_ = nullptr;
  DispatchOutcome outcome_;
  DispatchOutputs& out_ = outcome_.out;
};

}  // namespace

DispatchOutputs CudaGroup::dispatch(const DispatchInputs& inputs) {
  check_dispatch(state_, inputs);
  const OnDevice here(device_);
  return whole_call("dispatch", [&] { return CudaDispatch(*this, inputs).run(); });
}

}  // namespace transload
