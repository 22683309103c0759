// Group::combine on GPUs: one kernel, and no host wait.
#include "gpu/driver.h"
#include "kernels/near.h"
#include "runtime/call/slab_cursor.h"
#include "runtime/check_inputs.h"
#include "runtime/cuda/cuda_group.h"
#include "runtime/cuda/device_handle.h"
#include "runtime/handle.h"

namespace transload {

namespace {

class CudaCombine {
 public:
  CudaCombine(CudaGroup& group, const CombineInputs& in)
      : g_(group),
        p_(group.plan_),
        in_(in),
        handle_(*in.handle),
        block_(*in.handle->device),
        stream_(group.stream_of(in.stream)),
        channels_(p_.channels_of(in.channels)) {}

  CombineOutputs run() {
    choose_source();
    take_outputs();
    g_.begin_call(in_.stream, in_.deadline_ms, "combine");
    spans_ = g_.spans_for(handle_, channels_, in_.stream);
    move_rows();
    g_.keep_if_captured(in_.stream, in_.handle, out_block_);
    if (!starved_.empty()) throw Error(Code::kOutOfMemory, starved_);
    out_.scale_out_rows = handle_.report.scale_out_rows;
    return std::move(out_);
  }

 private:
  uint32_t weights() const { return in_.topk_weights.given() ? handle_.top_k : 0; }

  void choose_source() {
    const bool readable = can_be_pulled(p_, in_);
    pull_ = in_.source != CombineSource::kPush && readable;
    out_.source = pull_ ? CombineSource::kPull : CombineSource::kPush;
    p_.decide("combine source", pull_ ? "pull" : "push",
              in_.source != CombineSource::kAuto ? "asked for"
              : pull_                            ? "x lies in a lease"
                                                 : "x lies outside the leases");
  }

  void take_outputs() {
    SlabCursor at;
    const uint64_t rows_at = at.take(in_.out_x.given() ? 0 : handle_.tokens, in_.x.row_bytes());
    const uint64_t weights_at = at.take(handle_.tokens * weights(), 4);
    auto block = p_.arena->take(at.bytes);
    if (!block) return starve(at.bytes);
    char* const base = block->data;
    const auto tokens = int64_t(handle_.tokens);
    out_.x = in_.out_x.given() ? in_.out_x : g_.on_device(base + rows_at, tokens, in_.x.columns(), kBf16);
    if (weights() > 0) out_.topk_weights = g_.on_device(base + weights_at, tokens, weights(), kF32);
    out_block_ = block;
    out_.lease = Lease(block);
  }

  // The others count on this rank: it takes part, each sum goes where the last one was, and then the call fails.
  void starve(uint64_t bytes) {
    starved_ = g_.no_room("the outputs of a combine", bytes);
    out_.x = g_.on_device(g_.buffers.spare_sum, 1, in_.x.columns(), kBf16);
    if (weights() > 0) out_.topk_weights = g_.on_device(g_.buffers.spare_weights, 1, weights(), kF32);
  }

  CombineTrip trip() {
    CombineTrip t{};
    t.elements = uint64_t(in_.x.columns());
    t.wire = in_.wire == CombineWire::kF32 ? Scalar::kF32 : Scalar::kBf16;
    t.weights = weights();
    t.up_positions = g_.buffers.combine_up.view();
    t.rail_positions = g_.buffers.combine_rail.view();
    t.tokens = handle_.tokens;
    t.routes = block_.tables.routes;
    t.width = handle_.top_k;
    for (int i = 0; i < 2; ++i) t.bias[i] = in_.bias[i].as<char>();
    t.out = out_.x.as<char>();
    t.out_weights = out_.topk_weights.as<char>();
    t.spare_out = !starved_.empty();
    t.forward = {spans_.forward, channels_};
    t.log = block_.tables.log;
    t.log_width = block_.log_width;
    t.rows_of = {spans_.arriving, channels_};
    t.rows_max = handle_.rows_max;
    t.rows = in_.x.as<char>();
    t.row_weights = in_.topk_weights.as<char>();
    return t;
  }

  Cast cast() const {
    if (g_.map.nodes == 1) return pull_ ? Cast{0, 8, 0} : Cast{0, 4, 4};
    return pull_ ? Cast{4, 4, 0} : Cast{3, 3, 2};
  }

  void move_rows() {
    g_.began(Phase::kCombine);
    Card card{};
    card.operation = Operation::kCombine;
    card.handle = p_.common_id;
    card.row_bytes = in_.x.row_bytes();
    card.top_k = handle_.top_k;
    card.channels = channels_;
    card.wire = uint32_t(in_.wire);
    card.weights = weights();
    CombineLaunch launch{};
    launch.cast = cast();
    launch.call = g_.device_call(block_.tables.born);
    const auto area = [](const Tensor& t) { return StoreArea{t.as<char>(), uint64_t(t.bytes())}; };
    launch.areas = {g_.buffers.areas, g_.buffers.area_count, {area(out_.x), area(out_.topk_weights)}};
    launch.trip = trip();
    launch.board = g_.buffers.board;
    launch.trip.call = g_.make_call(card, g_.options.sms * kWarpsOfBlock);
    launch.near = g_.near_shape(0);
    auto offset = [&](const Tensor& t) { return pull_ && t.rows() > 0 ? Word(t.as<char>() - p_.board.mine()) : 0; };
    launch.grant = {
        pull_, offset(in_.x), 0, offset(in_.topk_weights), handle_.rows_max, block_.tables.row_base, g_.buffers.grants};
    g_.launched(launch_combine(launch, stream_), "combine");
    g_.end_call(in_.stream);
  }

  CudaGroup& g_;
  RankState& p_;
  const CombineInputs& in_;
  const HandleData& handle_;
  const DeviceHandleBlock& block_;
  CUstream_st* const stream_;
  const uint32_t channels_;
  DeviceSpans spans_;
  bool pull_ = false;
  std::shared_ptr<Lease::Block> out_block_;
  std::string starved_;  // why the call fails once it has taken part
  CombineOutputs out_;
};

}  // namespace

CombineOutputs CudaGroup::combine(const CombineInputs& inputs) {
  check_combine(plan_, inputs);
  const OnDevice here(device);
  return whole_call([&] { return CudaCombine(*this, inputs).run(); });
}

}  // namespace transload
