// Group::combine: the way back, over the handle of a dispatch.
#pragma once
#include <utility>

#include "base/situations.h"
#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"
#include "runtime/call/slab_cursor.h"
#include "runtime/check_inputs.h"
#include "runtime/host/host_calls.h"

namespace transload {

// One combine of one rank, step by step.
template <class W>
class CombineCall {
 public:
  CombineCall(HostCalls<W>& group, const CombineInputs& in)
      : g_(group), in_(in), handle_(*in.handle), channels_(g_.channels_of(in.channels)) {}

  CombineOutputs run() {
    choose_source();
    take_outputs();
    forward_ = forward_spans(handle_, channels_);
    rows_of_ = row_spans(handle_, channels_);
    begin();
    const bool any = in_.x.rows() > 0;
    g_.write_grants(call_,
                    {pull_, any ? in_.x.as<char>() : nullptr, nullptr, any ? in_.topk_weights.as<char>() : nullptr,
                     handle_.rows_kept()},
                    handle_.row_base);
    move_rows();
    out_.scale_out_rows = int64_t(handle_.sent_to_nodes);
    return std::move(out_);
  }

 private:
  using Task = typename Crew<W>::Task;

  uint32_t weights() const { return in_.topk_weights.given() ? handle_.top_k : 0; }

  void choose_source() {
    pull_ = in_.source != CombineSource::kPush && can_be_pulled(g_, in_);
    out_.source = pull_ ? CombineSource::kPull : CombineSource::kPush;
    if (pull_) reached<typename W::Plants>(Situation::kSourcePull);
    const char* why =
        in_.source == CombineSource::kAuto ? (pull_ ? "x lies in a lease" : "x lies outside the leases") : "asked for";
    g_.decide("combine source", pull_ ? "pull" : "push", why);
  }

  void take_outputs() {
    SlabCursor at;
    const uint64_t rows_at = at.take(in_.out_x.given() ? 0 : handle_.tokens, in_.x.row_bytes());
    const uint64_t weights_at = at.take(handle_.tokens * weights(), 4);
    auto block = private_or_leased(at.bytes);
    char* const base = block->data;
    out_.x = in_.out_x.given() ? in_.out_x : matrix(base + rows_at, int64_t(handle_.tokens), in_.x.columns(), kBf16);
    if (weights() > 0) out_.topk_weights = matrix(base + weights_at, int64_t(handle_.tokens), weights(), kF32);
    out_.lease = Lease(block);
  }

  std::shared_ptr<Lease::Block> private_or_leased(uint64_t bytes) {
    auto block = g_.arena->take(bytes);
    return block ? block : private_block(bytes);
  }

  void begin() {
    Card& card = g_.card;
    card = Card{};
    card.operation = Operation::kCombine;
    card.handle = handle_name(g_.common_id, handle_.born);
    card.row_bytes = in_.x.row_bytes();
    card.top_k = handle_.top_k;
    card.channels = channels_;
    card.wire = uint32_t(in_.wire);
    card.weights = weights();
    g_.begin_call(call_, Phase::kCombine, rows_to_move(), in_.deadline_ms);
  }

  // What Progress counts: cards, grants, rows pushed, partial sums, results.
  uint64_t rows_to_move() const {
    return g_.cards_shown() + g_.map.peers + (pull_ ? 0 : handle_.rows_kept()) + handle_.log_token.size() +
           handle_.tokens;
  }

  CombineTrip trip() {
    CombineTrip t{};
    t.call = call_;
    t.elements = uint64_t(in_.x.columns());
    t.wire = in_.wire == CombineWire::kF32 ? Scalar::kF32 : Scalar::kBf16;
    t.weights = weights();
    t.up_positions = g_.combine_up.view();
    t.rail_positions = g_.combine_rail.view();
    t.tokens = handle_.tokens;
    t.routes = handle_.routes.data();
    t.width = handle_.top_k;
    for (int i = 0; i < 2; ++i) t.bias[i] = in_.bias[i].as<char>();
    t.out = out_.x.as<char>();
    t.out_weights = out_.topk_weights.as<char>();
    t.forward = forward_.view();
    t.log = handle_.log.data();
    t.log_width = handle_.log_width;
    t.rows_of = rows_of_.view();
    t.rows_max = handle_.rows_max;
    t.rows = in_.x.as<char>();
    t.row_weights = in_.topk_weights.as<char>();
    return t;
  }

  void move_rows() {
    const uint32_t warps = g_.warps_of(channels_);
    const bool forwards = g_.map.nodes > 1;
    call_.arrivals_expected = warps * (1 + (forwards ? 1 : 0) + (pull_ ? 0 : 1));
    const CombineTrip t = trip();
    std::vector<Task> tasks{[&](W& w) {
      grant_call(w, t.call);
      open_call(w, t.call);
    }};
    for (uint32_t i = 0; i < warps; ++i) {
      if (!pull_) tasks.push_back([&](W& w) { run_combine_sender(w, t); });
      if (forwards) tasks.push_back([&](W& w) { run_combine_forwarder(w, t); });
      tasks.push_back([&](W& w) { run_combine_receiver(w, t); });
    }
    tasks.push_back([&](W& w) { close_call(w, t.call); });
    g_.run(tasks, "combine", true);
  }

  HostCalls<W>& g_;
  const CombineInputs& in_;
  const HandleData& handle_;
  const uint32_t channels_;
  Call call_{};
  bool pull_ = false;
  SpanTable forward_, rows_of_;
  CombineOutputs out_;
};

template <class W>
CombineOutputs HostCalls<W>::combine(const CombineInputs& in) {
  refuse_if_poisoned();
  return carried_out("combine", [&] {
    check_combine(*this, in);
    return CombineCall<W>(*this, in).run();
  });
}

}  // namespace transload
