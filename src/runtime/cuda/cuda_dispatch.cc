// Group::dispatch on GPUs: kernels in the order of the caller's stream. The host waits only for the number of rows.
#include <algorithm>

#include "base/type_names.h"
#include "gpu/driver.h"
#include "runtime/call/slab_cursor.h"
#include "runtime/check_inputs.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/cuda/device_handle.h"
#include "runtime/handle.h"

namespace transload {

namespace {

class CudaDispatch {
 public:
  CudaDispatch(CudaGroup& group, const DispatchInputs& in)
      : g_(group),
        p_(group.plan_),
        in_(in),
        stream_(group.stream_of(in.stream)),
        channels_(p_.channels_of(in.channels)) {}

  DispatchOutputs run() {
    shape_ = {in_.x.row_bytes(), uint32_t(in_.scales.given() ? in_.scales.columns() : 0),
              in_.handle ? in_.handle->top_k : uint32_t(in_.topk_idx.columns()), !in_.handle};
    handle_ = in_.handle;
    rows_max_ = in_.handle ? in_.handle->rows_max : in_.rows_max > 0 ? uint64_t(in_.rows_max) : kNoRowsMax;
    if (!in_.handle && in_.rows_max == 0) {
      if (g_.capturing(in_.stream))
        throw Error(Code::kInvalidArgument,
                    "rows_max: 0 while the stream is captured, must be at least 1: the host cannot wait for a count");
      g_.refuse_to_wait();
    }
    fill_card();
    g_.begin_call(in_.stream, in_.deadline_ms, "dispatch");
    if (in_.handle)
      begin_cached();
    else
      notify();
    take_outputs();
    move_tokens();
    return finish();
  }

 private:
  void fill_card() {
    card_.operation = in_.handle ? Operation::kCachedDispatch : Operation::kDispatch;
    card_.handle = p_.common_id;
    card_.row_bytes = shape_.row_bytes;
    card_.scales = shape_.scales;
    card_.top_k = shape_.top_k;
    card_.dtype = packed(in_.x.dtype);
    card_.channels = channels_;
  }

  // Scales of a token that do not follow each other are sent from a copy in which they do.
  bool stages_scales() const { return in_.scales.given() && in_.scales.columns() > 1 && in_.scales.strides[1] != 1; }
  ScaleSource scales_to_stage() const {
    if (!stages_scales()) return {};
    return {in_.scales.as<uint32_t>(), in_.scales.strides[0], in_.scales.strides[1]};
  }

  void begin_cached() {
    g_.began(Phase::kDispatch);
    headers_ = g_.buffers.cached_headers;
    if (stages_scales())
      g_.launched(launch_headers(HeaderArgs{g_.device_call(nullptr), shape_, g_.map.me, handle_->tokens,
                                            scales_to_stage(), g_.buffers.scales, nullptr},
                                 stream_),
                  "headers");
    const DeviceHandleBlock& block = *handle_->device;
    tables_ = block.tables;
    rows_ = block.rows;
    log_width_ = block.log_width;
    spans_ = g_.spans_for(*handle_, channels_, in_.stream);
    tables_.forward = spans_.forward;
    tables_.arriving = spans_.arriving;
  }

  void make_handle() {
    const HandleSizes sizes = g_.handle_sizes(uint64_t(in_.x.rows()), shape_.top_k, channels_);
    log_width_ = uint32_t(sizes.log_width);
    const uint64_t bytes = lay_tables(tables_, sizes, nullptr);
    handle_room_ = p_.arena->take(bytes);
    if (!handle_room_) starved_ = g_.no_room("a handle", bytes);
    lay_tables(tables_, sizes, handle_room_ ? handle_room_->data : g_.buffers.spare_handle);
  }

  // Counts to everyone; afterwards the host knows how many rows come.
  void notify() {
    make_handle();
    g_.began(Phase::kNotify);
    headers_ = g_.buffers.headers;
    LayoutArgs layout{};
    layout.call = g_.device_call(nullptr);
    layout.call.ctas = std::min(g_.options.sms, kLayoutCtasMax);
    layout.map = g_.buffers.map;
    layout.experts = g_.buffers.experts;
    layout.geometry = p_.geometry;
    layout.shape = shape_;
    layout.routing = {same_type(in_.topk_idx.dtype, kI32) ? in_.topk_idx.as<int32_t>() : nullptr,
                      in_.topk_idx.as<int64_t>(), in_.topk_weights.as<float>(), uint64_t(in_.x.rows()), shape_.top_k};
    layout.scales = scales_to_stage();
    layout.staged_scales = g_.buffers.scales;
    layout.channels = channels_;
    layout.scratch = g_.buffers.layout;
    layout.headers = headers_;
    layout.routes = tables_.routes;
    layout.counts_to_peers = g_.buffers.counts_to_peers;
    layout.counts_to_nodes = g_.buffers.counts_to_nodes;
    layout.report = tables_.report;
    g_.launched(launch_layout(layout, stream_), "layout");
    dispatch_number_ = ++g_.dispatches;
    const bool waits = rows_max_ == kNoRowsMax;
    NotifyLaunch launch{};
    launch.call = g_.device_call(nullptr);
    launch.trip = {g_.make_call(card_, 0), 0, g_.buffers.counts_to_peers, g_.buffers.counts_to_nodes,
                   p_.geometry.channels};
    launch.board = g_.buffers.board;
    launch.plan = {nullptr,
                   g_.buffers.experts,
                   channels_,
                   in_.expert_alignment,
                   tables_,
                   g_.buffers.counts_to_nodes,
                   launch.call.state,
                   launch.call.host,
                   waits ? g_.pinned_expert_counts() : nullptr,
                   waits ? dispatch_number_ : 0,
                   seal_of(dispatch_number_),
                   rows_max_,
                   in_.overflow == Overflow::kFail};
    launch.near = g_.near_shape(0);
    launch.areas = {g_.buffers.areas, g_.buffers.area_count, {}};
    g_.launched(launch_notify(launch, stream_), "notify");
    g_.mark_end(in_.stream);
    if (waits) g_.await_ticket(dispatch_number_);
    keep_handle(waits);
  }

  void keep_handle(bool told) {
    auto made = std::make_shared<HandleData>();
    made->group = p_.id;
    made->tokens = uint64_t(in_.x.rows());
    made->top_k = shape_.top_k;
    made->rows_max = rows_max_;
    made->overflow = in_.overflow;
    if (told) made->report = g_.report_of(*made, g_.words().report, g_.host_expert_counts());
    rows_ = told ? made->report.rows_needed : in_.rows_max;  // how many came, only the device may know
    made->device_rows = uint64_t(rows_);
    made->device = std::make_shared<DeviceHandleBlock>(
        DeviceHandleBlock{tables_, handle_room_, seal_of(dispatch_number_), channels_, log_width_, rows_});
    handle_ = made;
  }

  // Room for what I receive, and with it the landing.
  void take_outputs() {
    const uint64_t rows = uint64_t(rows_), k = shape_.listed ? shape_.top_k : 0;
    // The trip is completed into a lease, then the call fails.
    too_small_ = in_.out_x.given() && in_.out_x.rows() < rows_;
    const bool own_rows = in_.out_x.given() && !too_small_;
    SlabCursor at;
    const uint64_t rows_at = at.take(own_rows ? 0 : rows, shape_.row_bytes),
                   headers_at = at.take(k ? rows : 0, shape_.header_bytes());
    const uint64_t idx_at = at.take(rows * k, 4), weights_at = at.take(rows * k, 4),
                   source_at = at.take(k ? rows : 0, 8);
    const uint64_t scales_at = at.take(rows * shape_.scales, 4);
    auto block = starved_.empty() ? p_.arena->take(at.bytes) : nullptr;
    if (!block) return starve(at.bytes);
    const bool leased = !own_rows || p_.arena->holds(in_.out_x.data, rows * shape_.row_bytes);
    direct_ = leased && in_.landing != Landing::kRing;
    p_.decide("landing", direct_ ? "direct" : "ring",
              in_.landing == Landing::kRing ? "asked for"
              : direct_                     ? "a lease of " + std::to_string(at.bytes) + " bytes was had"
                                            : "out_x is not in a lease");
    char* const base = block->data;
    landed_ = own_rows ? in_.out_x.as<char>() : base + rows_at;
    row_headers_ = base + headers_at;
    auto put = [&](DLDataType type, uint64_t offset, uint64_t columns) {
      return g_.on_device(base + offset, rows_, int64_t(columns), type);
    };
    out_.x = g_.on_device(landed_, rows_, in_.x.columns(), in_.x.dtype);
    if (shape_.scales > 0) out_.scales = put(in_.scales.dtype, scales_at, shape_.scales);
    if (k > 0) {
      out_.topk_idx = put(kI32, idx_at, k);
      out_.topk_weights = put(kF32, weights_at, k);
      out_.source = put(kI32, source_at, 2);
    }
    out_block_ = block;
    out_.lease = Lease(block);
    out_.rows = out_.rows_needed = rows_;
    out_.landing = direct_ ? Landing::kDirect : Landing::kRing;
  }

  // The others count on this rank: it takes part and keeps no row, and then the call fails.
  void starve(uint64_t bytes) {
    if (starved_.empty()) starved_ = g_.no_room("the outputs of a dispatch", bytes);
    rows_max_ = 0;
    direct_ = true;
    landed_ = row_headers_ = p_.board.mine();
  }

  DispatchTrip trip() {
    DispatchTrip t{};
    t.shape = shape_;
    t.up_positions = g_.buffers.dispatch_up.view();
    t.rail_positions = g_.buffers.dispatch_rail.view();
    t.experts = g_.buffers.experts;
    t.tokens = handle_->tokens;
    t.x = in_.x.as<char>();
    t.x_scales = stages_scales() ? g_.buffers.scales : in_.scales.as<char>();
    t.x_scale_stride = stages_scales()      ? int64_t(shape_.scale_room())
                       : in_.scales.given() ? in_.scales.strides[0] * 4
                                            : 0;
    t.headers = headers_;
    t.routes = tables_.routes;
    t.width = handle_->top_k;
    t.forward = {tables_.forward, channels_};
    t.source_tokens = tables_.slot_tokens;
    t.log_token = tables_.log_token;
    t.log = tables_.log;
    t.log_width = log_width_;
    t.arriving = {tables_.arriving, channels_};
    t.row_base = tables_.row_base;
    t.rows_max = rows_max_;
    t.row_token = tables_.row_token;
    t.direct = direct_;
    t.rows = landed_;
    t.row_headers = row_headers_;
    t.scales = out_.scales.as<char>();
    t.topk_idx = out_.topk_idx.as<int32_t>();
    t.topk_weights = out_.topk_weights.as<float>();
    t.source = out_.source.as<int32_t>();
    return t;
  }

  // Senders take what is left; receivers are needed beside them only where rows come through rings.
  Cast cast() const {
    if (g_.map.nodes == 1) return direct_ ? Cast{0, 0, 8} : Cast{0, 4, 4};
    return direct_ ? Cast{4, 0, 4} : Cast{3, 2, 3};
  }

  void move_tokens() {
    g_.began(Phase::kDispatch);
    DispatchLaunch launch{};
    launch.cast = cast();
    launch.call = g_.device_call(in_.handle ? tables_.born : nullptr);
    launch.areas = {g_.buffers.areas, g_.buffers.area_count, {{landed_, uint64_t(out_.x.bytes())}, {}}};
    launch.trip = trip();
    launch.board = g_.buffers.board;
    launch.trip.call = g_.make_call(card_, g_.options.sms * (launch.cast.forwarders + launch.cast.senders));
    launch.near = g_.near_shape(shape_.bytes() - shape_.row_bytes);
    auto offset = [&](const char* at) { return direct_ && at != nullptr ? Word(at - p_.board.mine()) : 0; };
    launch.grant = {direct_,          offset(landed_),  offset(out_.scales.as<char>()), offset(row_headers_), rows_max_,
                    tables_.row_base, g_.buffers.grants};
    launch.opens = bool(in_.handle);
    g_.launched(launch_dispatch(launch, stream_), "dispatch");
    if (!in_.handle && rows_max_ != kNoRowsMax && starved_.empty()) finish_rows();
    g_.end_call(in_.stream);
  }

  void finish_rows() {
    RecountArgs kept{};
    kept.call = g_.device_call(nullptr);
    kept.report = tables_.report;
    kept.topk_idx = out_.topk_idx.as<int32_t>();
    kept.topk_weights = out_.topk_weights.as<float>();
    kept.rows_max = rows_max_;
    kept.top_k = shape_.top_k;
    kept.experts = p_.experts.experts_of(g_.map.me);
    kept.alignment = in_.expert_alignment;
    kept.expert_counts = tables_.expert_counts;
    g_.launched(launch_kept(kept, stream_), "kept");
  }

  DispatchOutputs finish() {
    g_.keep_if_captured(in_.stream, handle_, out_block_);
    if (!starved_.empty()) throw Error(Code::kOutOfMemory, starved_);
    if (too_small_)
      throw Error(Code::kInvalidArgument, "out_x: " + std::to_string(in_.out_x.rows()) + " rows, must be at least " +
                                              std::to_string(out_.rows) +
                                              ", what this rank received; the group is good");
    const DispatchReport& report = handle_->report;
    out_.handle = handle_;
    out_.scale_out_rows = report.scale_out_rows;
    out_.rows_on_device = g_.on_device(&tables_.report->rows_needed, 1, kI64);
    if (in_.handle) return std::move(out_);
    out_.status = report.status;
    out_.expert_counts = report.expert_counts;
    out_.expert_counts_on_device = g_.on_device(tables_.expert_counts, int64_t(p_.experts.experts_of(g_.map.me)), kI64);
    return std::move(out_);
  }

  CudaGroup& g_;
  RankState& p_;
  const DispatchInputs& in_;
  CUstream_st* const stream_;
  const uint32_t channels_;
  TokenShape shape_{};
  Card card_{};
  Handle handle_;
  DeviceHandle tables_{};
  std::shared_ptr<Lease::Block> handle_room_, out_block_;
  Word dispatch_number_ = 0;  // of a first dispatch
  DeviceSpans spans_;
  uint32_t log_width_ = 0;
  int64_t rows_ = 0;
  uint64_t rows_max_ = kNoRowsMax;
  bool direct_ = false, too_small_ = false;
  std::string starved_;  // why the call fails once it has taken part
  char* headers_ = nullptr;
  char* landed_ = nullptr;
  char* row_headers_ = nullptr;
  DispatchOutputs out_;
};

}  // namespace

DispatchOutputs CudaGroup::dispatch(const DispatchInputs& inputs) {
  check_dispatch(plan_, inputs);
  const OnDevice here(device);
  return whole_call([&] { return CudaDispatch(*this, inputs).run(); });
}

}  // namespace transload
