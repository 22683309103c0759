// Group::dispatch: layout, notify, plan, lease, and the roles that move the tokens.
#pragma once
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/situations.h"
#include "base/type_names.h"
#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"
#include "protocol/dispatch/sender.h"
#include "protocol/notify.h"
#include "runtime/call/slab_cursor.h"
#include "runtime/check_inputs.h"
#include "runtime/host/host_calls.h"

namespace transload {

// One dispatch of one rank, step by step.
template <class W>
class DispatchCall {
 public:
  DispatchCall(HostCalls<W>& group, const DispatchInputs& in)
      : g_(group), in_(in), channels_(g_.channels_of(in.channels)) {}

  DispatchOutputs run() {
    shape_ = {in_.x.row_bytes(), uint32_t(in_.scales.given() ? in_.scales.columns() : 0),
              in_.handle ? in_.handle->top_k : uint32_t(in_.topk_idx.columns()), !in_.handle};
    handle_ = in_.handle;
    if (in_.x.rows() == 0) reached<Plants>(Situation::kRankEmpty);
    if (in_.handle) {
      take_outputs();
      begin_cached();
    } else {
      notify();
      take_outputs();
    }
    blank_rows_left();
    if (planted<Plants>(Canary::kOverflowFailsEarly) && fails()) fail_for_room();
    move_tokens();
    return finish();
  }

 private:
  using Plants = typename W::Plants;
  using Task = typename Crew<W>::Task;

  void begin(Phase phase, uint64_t rows_total) {
    Card& card = g_.card;
    card = Card{};
    card.operation = in_.handle ? Operation::kCachedDispatch : Operation::kDispatch;
    card.handle = in_.handle ? handle_name(g_.common_id, in_.handle->born) : 0;
    card.row_bytes = shape_.row_bytes;
    card.scales = shape_.scales;
    card.top_k = shape_.top_k;
    card.dtype = packed(in_.x.dtype);
    card.channels = channels_;
    g_.begin_call(call_, phase, rows_total, in_.deadline_ms);
  }

  void begin_cached() {
    reached<Plants>(Situation::kCachedDispatch);
    for (uint64_t token = 0; token < handle_->tokens; ++token)
      *header(token) = {g_.map.me, uint32_t(token), 0, shape_.top_k};
    place_scales();
    forward_ = forward_spans(*handle_, channels_);
    arriving_ = row_spans(*handle_, channels_);
    begin(Phase::kDispatch, 0);
  }

  // Counts to everyone; afterwards the plan is known.
  void notify() {
    const Routing routing{same_type(in_.topk_idx.dtype, kI32) ? in_.topk_idx.as<int32_t>() : nullptr,
                          in_.topk_idx.as<int64_t>(), in_.topk_weights.as<float>(), uint64_t(in_.x.rows()),
                          shape_.top_k};
    LayoutOutputs layout = lay_out({routing, g_.map, g_.experts, shape_, channels_, g_.headers.get()});
    bad_ = layout.bad;
    place_scales();
    write_records(layout.counts);
    begin(Phase::kNotify, records_to_send());
    NotifyTrip trip{call_, ++g_.notify_uses, g_.counts_to_peers.data(), g_.counts_to_nodes.data(),
                    g_.geometry.channels};
    std::vector<Task> tasks{[&](W& w) { run_notify(w, trip); }};
    g_.run(tasks, "dispatch", false);
    learn_handle(std::move(layout), trip.parity<W>());
  }

  void write_records(const SendCounts& counts) {
    const Geometry& geo = g_.geometry;
    const CountsWriter writer{counts, g_.experts, uint64_t(in_.x.rows()), channels_, geo.channels};
    auto words = [](char* at) { return reinterpret_cast<uint32_t*>(at); };
    for (uint32_t p = 0; p < g_.map.peers; ++p)
      writer.for_rank(words(g_.counts_to_peers.data() + p * geo.counts_bytes()), g_.map.mate(p));
    for (uint32_t n = 0; n < g_.map.nodes; ++n) {
      char* const record = g_.counts_to_nodes.data() + n * geo.node_counts_bytes();
      writer.for_node(words(record), n);
      for (uint32_t p = 0; p < g_.map.node_size(n); ++p)
        writer.for_rank(words(record + geo.node_counts_head() + p * geo.counts_bytes()), g_.map.node_begin[n] + p);
    }
  }

  // The plan of my rows, and the logs of what I shall forward, from the mailboxes.
  void learn_handle(LayoutOutputs layout, uint32_t parity) {
    const Board& b = g_.board;
    auto made = std::make_shared<HandleData>();
    auto record = [&](uint32_t s) {
      return CountsRecord{reinterpret_cast<const uint32_t*>(b.mine() + b.up.counts.at(parity, s))};
    };
    for (uint32_t s = 0; s < g_.map.ranks; ++s)
      g_.crew.reads(b.mine() + b.up.counts.at(parity, s), g_.geometry.counts_bytes());
    ReceivePlan plan = receive_plan(
        {g_.map.ranks, g_.experts.experts_of(g_.map.me), g_.geometry.channels, in_.expert_alignment}, record);
    if (planted<Plants>(Canary::kPrefixOffByOne)) begin_late(plan.row_base);
    expert_counts_ = plan.expert_counts;
    arriving_ = SpanTable(g_.map.ranks, channels_);
    for (uint32_t s = 0; s < g_.map.ranks; ++s) arriving_.set_counts(s, plan.row_base[s], record(s).by_channel());
    made->group = g_.id;
    made->born = g_.epoch;
    made->tokens = uint64_t(in_.x.rows());
    made->top_k = shape_.top_k;
    made->routes = std::move(layout.routes);
    for (uint32_t n : layout.counts.to_node) made->sent_to_nodes += n;
    made->row_base = std::move(plan.row_base);
    made->source_tokens = std::move(plan.source_tokens);
    if (in_.rows_max > 0) made->rows_max = uint64_t(in_.rows_max);
    made->row_token.resize(made->rows_kept());
    const uint32_t slots = g_.map.sources();
    forward_ = SpanTable(slots, channels_);
    made->log_begin.assign(slots + 1, 0);
    made->slot_tokens.assign(slots, 0);
    for (uint32_t s = 0; s < slots; ++s) {
      const uint64_t first = made->log_begin[s + 1] = made->log_begin[s];
      if (b.sources[s].rank == kNobody) continue;
      const auto* words = reinterpret_cast<const uint32_t*>(b.network + b.net.counts.at(parity, s));
      g_.crew.reads(words, g_.geometry.node_counts_head() + g_.map.peers * g_.geometry.counts_bytes());
      made->slot_tokens[s] = words[0];
      made->log_begin[s + 1] = first + words[1];
      forward_.set_counts(s, first, words + 2);
      for (uint32_t p = 0; p < g_.map.peers; ++p)
        made->forwarded +=
            CountsRecord{words + (g_.geometry.node_counts_head() + p * g_.geometry.counts_bytes()) / 4}.tokens();
    }
    made->log_width = std::min(shape_.top_k, g_.map.peers);
    made->log_token.resize(made->log_begin.back());
    made->log.resize(made->log_begin.back() * made->log_width);
    made_ = made;
    handle_ = made;
  }

  // The canary's: the rows of every source that has any begin one late, but for the last one's, which end the lease.
  static void begin_late(std::vector<uint64_t>& row_base) {
    for (size_t s = 0; s + 1 < row_base.size(); ++s)
      if (row_base[s] < row_base[s + 1] && row_base[s + 1] < row_base.back()) ++row_base[s];
  }

  Header* header(uint64_t token) { return reinterpret_cast<Header*>(g_.headers.get() + token * shape_.header_bytes()); }

  // Where those of a token follow each other they are sent from there; else from a copy in which they do.
  void place_scales() {
    if (shape_.scales == 0) return;
    const Tensor& from = in_.scales;
    x_scales_ = from.as<char>();
    x_scale_stride_ = from.rows() > 1 ? from.strides[0] * 4 : 0;
    if (planted<Plants>(Canary::kScaleStrides))
      x_scale_stride_ = int64_t(shape_.scale_bytes());
    else if (from.columns() > 1 && from.strides[1] != 1)
      stage_scales(from);
  }

  void stage_scales(const Tensor& from) {
    x_scale_stride_ = int64_t(shape_.scale_room());
    for (int64_t token = 0; token < from.rows(); ++token)
      for (int64_t i = 0; i < from.columns(); ++i)
        std::memcpy(g_.scales.get() + token * x_scale_stride_ + i * 4,
                    x_scales_ + (token * from.strides[0] + i * from.strides[1]) * 4, 4);
    x_scales_ = g_.scales.get();
  }

  // Room for what I receive, and with it the landing.
  void take_outputs() {
    const uint64_t rows = handle_->rows_held(), k = shape_.listed ? shape_.top_k : 0;
    too_small_ =
        in_.out_x.given() && uint64_t(in_.out_x.rows()) < rows;  // the trip completes into a lease, then the call fails
    const bool own_rows = in_.out_x.given() && !too_small_;
    SlabCursor at;
    const uint64_t rows_at = at.take(own_rows ? 0 : rows, shape_.row_bytes),
                   headers_at = at.take(k ? rows : 0, shape_.header_bytes());
    const uint64_t idx_at = at.take(rows * k, 4), weights_at = at.take(rows * k, 4),
                   source_at = at.take(k ? rows : 0, 8);
    const uint64_t scales_at = at.take(rows, shape_.scales * 4);
    auto block = in_.landing == Landing::kRing ? nullptr : g_.arena->take(at.bytes);
    const bool reachable = block && (!own_rows || g_.arena->holds(in_.out_x.data, rows * shape_.row_bytes));
    choose_landing(reachable, block != nullptr, at.bytes);
    if (!block) block = private_block(at.bytes);
    char* const base = block->data;
    rows_ = own_rows ? in_.out_x.as<char>() : base + rows_at;
    row_headers_ = base + headers_at;
    auto put = [&](DLDataType type, uint64_t offset, uint64_t columns) {
      return matrix(base + offset, int64_t(rows), int64_t(columns), type);
    };
    out_.x = matrix(rows_, int64_t(rows), in_.x.columns(), in_.x.dtype);
    if (shape_.scales > 0) out_.scales = put(in_.scales.dtype, scales_at, shape_.scales);
    if (k > 0) {
      out_.topk_idx = put(kI32, idx_at, k);
      out_.topk_weights = put(kF32, weights_at, k);
      out_.source = put(kI32, source_at, 2);
    }
    out_.lease = Lease(block);
    out_.rows = int64_t(handle_->rows_kept());
    out_.rows_needed = int64_t(handle_->rows_needed());
  }

  // Rows that do not come: experts must take none of them for theirs.
  void blank_rows_left() {
    const uint64_t k = shape_.listed ? shape_.top_k : 0, first = handle_->rows_kept() * k,
                   end = handle_->rows_held() * k;
    std::fill(out_.topk_idx.template as<int32_t>() + first, out_.topk_idx.template as<int32_t>() + end, -1);
    std::fill(out_.topk_weights.template as<float>() + first, out_.topk_weights.template as<float>() + end, 0.0f);
  }

  void choose_landing(bool reachable, bool leased, uint64_t bytes) {
    direct_ = reachable;
    out_.landing = direct_ ? Landing::kDirect : Landing::kRing;
    std::string why = "a lease of " + std::to_string(bytes) + " bytes was had";
    if (in_.landing == Landing::kRing)
      why = "asked for";
    else if (!leased)
      why = "no room in the slabs for " + std::to_string(bytes) + " bytes: longest gap " +
            std::to_string(g_.arena->longest_gap());
    else if (!direct_)
      why = "out_x is not in a lease";
    if (in_.landing != Landing::kRing && !leased) reached<Plants>(Situation::kSlabExhausted);
    g_.decide("landing", direct_ ? "direct" : "ring", why);
    if (in_.landing == Landing::kDirect && !direct_) no_landing_ = why;
  }

  DispatchTrip trip() {
    DispatchTrip t{};
    t.call = call_;
    t.shape = shape_;
    t.up_positions = g_.dispatch_up.view();
    t.rail_positions = g_.dispatch_rail.view();
    t.experts = g_.experts;
    t.tokens = handle_->tokens;
    t.x = in_.x.as<char>();
    t.x_scales = x_scales_;
    t.x_scale_stride = x_scale_stride_;
    t.headers = g_.headers.get();
    t.routes = handle_->routes.data();
    t.width = handle_->top_k;
    t.forward = forward_.view();
    t.source_tokens = handle_->slot_tokens.data();
    t.log_token = const_cast<uint32_t*>(handle_->log_token.data());  // written only while the handle is mine alone
    t.log = const_cast<Route*>(handle_->log.data());
    t.log_width = handle_->log_width;
    t.arriving = arriving_.view();
    t.row_base = handle_->row_base.data();
    t.row_token = const_cast<uint32_t*>(handle_->row_token.data());  // so is this
    t.rows_max = handle_->rows_max;
    t.direct = direct_;
    t.rows = rows_;
    t.row_headers = row_headers_;
    t.scales = out_.scales.as<char>();
    t.topk_idx = out_.topk_idx.as<int32_t>();
    t.topk_weights = out_.topk_weights.as<float>();
    t.source = out_.source.as<int32_t>();
    return t;
  }

  void move_tokens() {
    g_.write_grants(call_, {direct_, rows_, out_.scales.as<char>(), row_headers_, handle_->rows_kept()},
                    handle_->row_base);
    const uint32_t warps = g_.warps_of(channels_);
    const bool silent = handle_->tokens == 0 && planted<Plants>(Canary::kEmptyRankSilent);
    const bool forwards = g_.map.nodes > 1 && !silent;
    call_.arrivals_expected = warps * (forwards ? 2 : 1);
    g_.set_phase(Phase::kDispatch, rows_to_move());
    const DispatchTrip t = trip();
    std::vector<Task> tasks;
    tasks.push_back([&](W& w) {
      grant_call(w, t.call);
      if (in_.handle) open_call(w, t.call);
    });
    for (uint32_t i = 0; i < warps; ++i) {
      tasks.push_back([&](W& w) { run_dispatch_receiver(w, t); });
      if (forwards) tasks.push_back([&](W& w) { run_dispatch_forwarder(w, t); });
      tasks.push_back([&](W& w) { run_dispatch_sender(w, t); });
    }
    tasks.push_back([&](W& w) { close_call(w, t.call); });
    g_.run(tasks, "dispatch", true);
  }

  // What Progress counts: one for each copy that a role of mine stores.
  uint64_t records_to_send() const {
    uint64_t sum = g_.cards_shown() + g_.map.peers;
    for (const Counterpart& c : g_.rails) sum += c.rank != kNobody;
    for (const Counterpart& c : g_.sources) sum += c.rank != kNobody ? g_.map.peers : 0;
    return sum;
  }
  uint64_t rows_to_move() const {
    uint64_t sum =
        g_.map.peers + (direct_ ? 0 : handle_->rows_kept()) + (in_.handle ? g_.cards_shown() : 0) + handle_->forwarded;
    for (const Route& r : handle_->routes) sum += r.target != kNoRoute;
    return sum;
  }

  DispatchOutputs finish() {
    if (too_small_)
      throw Error(Code::kInvalidArgument, "out_x: " + std::to_string(in_.out_x.rows()) + " rows, must be at least " +
                                              std::to_string(out_.rows) +
                                              ", what this rank received; the group is good");
    if (!no_landing_.empty())
      throw Error(Code::kOutOfMemory, "landing: direct, but " + no_landing_ + "; the group is good");
    if (overflows()) {
      reached<Plants>(Situation::kRowsDropped);
      if (fails()) fail_for_room();
      if (made_) count_kept_rows();
      out_.status = too_many_rows(handle_->rows_needed(), handle_->rows_max, Overflow::kDrop);
    }
    out_.handle = handle_;
    out_.scale_out_rows = int64_t(handle_->sent_to_nodes);
    if (bad_.found) out_.status = bad_expert(bad_, g_.experts.experts);
    if (made_) tell();
    out_.rows_on_device = list(&handle_->report.rows_needed, 1, kI64);
    return std::move(out_);
  }

  void tell() {
    made_->report = {made_->born,         out_.rows,  out_.rows_needed, std::move(expert_counts_),
                     out_.scale_out_rows, out_.status};
    const std::vector<int64_t>& counts = made_->report.expert_counts;
    out_.expert_counts = counts;
    out_.expert_counts_on_device = list(counts.data(), int64_t(counts.size()), kI64);
  }

  // A handle was made where rows were dropped or fitted: its calls do the same again, and do not fail.
  bool overflows() const { return handle_->rows_kept() < handle_->rows_needed(); }
  bool fails() const { return overflows() && made_ && in_.overflow == Overflow::kFail; }
  [[noreturn]] void fail_for_room() const {
    const Status status = too_many_rows(handle_->rows_needed(), handle_->rows_max, Overflow::kFail);
    throw Error(status.code, status.message);
  }

  // Experts' rows that lie in x: notify counted those that were dropped too.
  void count_kept_rows() {
    std::fill(expert_counts_.begin(), expert_counts_.end(), 0);
    const int32_t* const idx = out_.topk_idx.template as<int32_t>();
    for (int64_t i = 0; i < out_.rows * int64_t(shape_.top_k); ++i)
      if (idx[i] >= 0) ++expert_counts_[size_t(idx[i])];
    for (int64_t& n : expert_counts_) n = int64_t(round_up(uint64_t(n), in_.expert_alignment));
  }

  HostCalls<W>& g_;
  const DispatchInputs& in_;
  const uint32_t channels_;
  TokenShape shape_{};
  Call call_{};
  Handle handle_;
  std::shared_ptr<HandleData> made_;  // the same on a first dispatch, still being written
  SpanTable forward_, arriving_;
  std::vector<int64_t> expert_counts_;
  BadExpert bad_;
  bool direct_ = false, too_small_ = false;
  std::string no_landing_;  // why the call fails, once the others have what is theirs
  const char* x_scales_ = nullptr;
  int64_t x_scale_stride_ = 0;
  char* rows_ = nullptr;
  char* row_headers_ = nullptr;
  DispatchOutputs out_;
};

template <class W>
DispatchOutputs HostCalls<W>::dispatch(const DispatchInputs& in) {
  refuse_if_poisoned();
  return carried_out("dispatch", [&] {
    check_dispatch(*this, in);
    return DispatchCall<W>(*this, in).run();
  });
}

}  // namespace transload
