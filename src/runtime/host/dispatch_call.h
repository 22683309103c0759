// Group::dispatch: layout, notify, plan, lease, and the roles that move the tokens.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/situations.h"
#include "layout/wrong_counts.h"
#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/call/grants.h"
#include "protocol/dispatch/forwarder.h"
#include "protocol/dispatch/receiver.h"
#include "protocol/dispatch/sender.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/dispatch_form.h"
#include "runtime/call/outcome.h"
#include "runtime/host/host_calls.h"
#include "runtime/host/refuse_alike.h"

namespace transload {

// One dispatch of one rank, step by step.
template <class W>
class DispatchCall {
 public:
  DispatchCall(HostCalls<W>& group, const DispatchInputs& in)
      : g_(group), in_(in), form_(group, in), outcome_(group, form_, in, {kDLCPU, 0}) {}

  DispatchOutputs run() {
    handle_ = in_.handle;
    if (form_.tokens == 0) reached<Plants>(Situation::kRankEmpty);
    if (!form_.first) {
      take_outputs();
      begin_cached();
    } else {
      notify();
      take_outputs();
    }
    if (!outcome_.failed()) blank_rows_left();
    if (planted<Plants>(Canary::kOverflowFailsEarly) && fails()) fail_for_room();
    move_tokens();
    return finish();
  }

 private:
  using Plants = typename W::Plants;
  using Task = typename Crew<W>::Task;

  void begin(Phase phase, uint64_t rows_total) {
    g_.card = form_.card;
    g_.card.handle = form_.first ? 0 : handle_name(g_.common_id, handle_->born);
    g_.begin_call(call_, phase, rows_total, in_.deadline_ms);
  }

  void begin_cached() {
    reached<Plants>(Situation::kCachedDispatch);
    for (uint64_t token = 0; token < form_.tokens; ++token)
      *header(token) = {g_.map.me, uint32_t(token), 0, form_.shape.top_k};
    place_scales();
    forward_ = forward_spans(handle_->tables, form_.channels);
    arriving_ = row_spans(handle_->tables, form_.rows_max, form_.channels);
    begin(Phase::kDispatch, 0);
  }

  // Sends counts to everyone; afterwards the plan is known.
  void notify() {
    LayoutOutputs layout = lay_out({.routing = form_.routing,
                                    .map = g_.map,
                                    .experts = g_.experts,
                                    .shape = form_.shape,
                                    .channels = form_.channels,
                                    .headers = g_.headers.get()});
    bad_ = layout.bad;
    place_scales();
    write_records(layout.counts);
    begin(Phase::kNotify, g_.records_to_send());
    const uint32_t parity = g_.exchange_counts(call_);
    if (const auto refusal = g_.refusal(parity)) end_refused(*refusal);
    make_handle(std::move(layout), parity);
  }

  // Ends a call that a rank has refused. All ranks know, and none goes on.
  [[noreturn]] void end_refused(const Refusal& refusal) {
    reached<Plants>(Situation::kRefusedAlike);
    g_.end_call("dispatch");
    const bool not_supported = refusal.code == uint32_t(Code::kNotSupported);
    throw Error(not_supported ? Code::kNotSupported : Code::kInvalidArgument,
                refusal.text + " (rank " + std::to_string(refusal.rank) + ")");
  }

  void write_records(const SendCounts& counts) {
    const Geometry& geo = g_.geometry;
    const CountsWriter writer{.counts = counts,
                              .experts = g_.experts,
                              .source_tokens = form_.tokens,
                              .channels = form_.channels,
                              .shape = geo.counts()};
    for (uint32_t p = 0; p < g_.map.peers; ++p)
      writer.for_rank(g_.counts_to_peers.data() + p * geo.counts_bytes(), g_.map.peer_rank(p));
    for (uint32_t n = 0; n < g_.map.nodes; ++n)
      writer.for_node(g_.counts_to_nodes.data() + n * geo.node_counts_bytes(), g_.map, n);
  }

  // Makes the plan of my rows, and the logs of what I shall forward, from the mailboxes.
  void make_handle(LayoutOutputs layout, uint32_t parity) {
    const Board& b = g_.board;
    const CountsShape counts = g_.geometry.counts();
    auto of_rank = [&](uint32_t s) { return CountsRecord::at(b.mine() + b.up.counts.at(parity, s)); };
    auto of_slot = [&](uint32_t s) {
      if (b.sources[s].rank == kNobody) return NodeCountsRecord{nullptr, counts};
      const char* const at = b.network + b.net.counts.at(parity, s);
      g_.crew.reads(at, counts.node_bytes(g_.map.peers));
      return NodeCountsRecord{at, counts};
    };
    const CountsBounds bounds{.tokens_max = g_.options.tokens_max,
                              .channels_max = g_.geometry.channels,
                              .top_k_max = g_.options.top_k_max,
                              .experts_of_mine = g_.experts.experts_of(g_.map.me)};
    if (const auto wrong = wrong_count(g_.map, bounds, of_rank, of_slot)) accuse(*wrong);
    ReceivePlan plan = receive_plan({.ranks = g_.map.ranks,
                                     .experts_of_mine = g_.experts.experts_of(g_.map.me),
                                     .channels_max = g_.geometry.channels,
                                     .alignment = in_.expert_alignment},
                                    of_rank);
    expert_counts_ = std::move(plan.expert_counts);
    auto made = form_.new_handle(g_);
    made->born = g_.epoch;
    LearnedHandle learned = learn_handle(
        {.map = g_.map, .channels = form_.channels, .top_k = form_.shape.top_k, .rows_max = form_.rows_max},
        std::move(plan), of_rank, of_slot);
    made->tables = std::move(learned.tables);
    made->tables.routes = std::move(layout.routes);
    made->log_width = learned.log_width;
    made->forwarded = learned.forwarded;
    for (const uint32_t n : layout.counts.to_node) made->sent_to_nodes += n;
    forward_ = std::move(learned.forward);
    arriving_ = std::move(learned.arriving);
    made_ = made;
    handle_ = made;
  }

  // Names the rank that sent a wrong count, on all ranks. Does not return.
  void accuse(const WrongCount& wrong) {
    const std::vector<Task> tasks{[&](W& w) {
      w.enter(Role::kOpener, -1);
      w.broken(Broken::kCounts, wrong.rank, wrong.seen, wrong.most);
    }};
    g_.run(tasks, "dispatch", false);
    g_.crew.fail("dispatch");
  }

  Header* header(uint64_t token) {
    return reinterpret_cast<Header*>(g_.headers.get() + token * form_.shape.header_bytes());
  }

  void place_scales() {
    if (form_.shape.scales == 0) return;
    scales_ = form_.scale_rows(g_.scales.get());
    if (planted<Plants>(Canary::kScaleStrides))
      scales_ = {in_.scales.as<char>(), int64_t(form_.shape.scale_bytes())};
    else if (form_.stages_scales())
      form_.stage_scales(g_.scales.get());
  }

  void take_outputs() {
    outcome_.ask(handle_->rows_held());
    outcome_.take(*handle_);
    if (outcome_.slabs_full()) reached<Plants>(Situation::kSlabExhausted);
  }

  uint64_t rows_kept() const { return std::min(handle_->rows_kept(), form_.rows_max); }

  // Blanks the rows that do not come, so that no expert takes one of them for its own.
  void blank_rows_left() {
    const uint64_t k = form_.first ? form_.shape.top_k : 0, first = handle_->rows_kept() * k,
                   end = handle_->rows_held() * k;
    with_ids([&](auto* ids) { std::fill(ids + first, ids + end, -1); });
    std::fill(out_.topk_weights.template as<float>() + first, out_.topk_weights.template as<float>() + end, 0.0f);
  }

  // body(the ids of the outputs), as wide as the caller wants them.
  template <class Body>
  void with_ids(Body body) {
    if (same_type(out_.topk_idx.dtype, kI64))
      body(out_.topk_idx.template as<int64_t>());
    else
      body(out_.topk_idx.template as<int32_t>());
  }

  DispatchTables tables() {
    return {.up_positions = g_.dispatch_up.view(),
            .rail_positions = g_.dispatch_rail.view(),
            .experts = g_.experts,
            .handle = view_of(handle_->tables),
            .made = made_ ? tables_of(made_->tables) : HandleTables{},
            .log_width = handle_->log_width,
            .forward = forward_.view(),
            .arriving = arriving_.view(),
            .log_entries = handle_->tables.log_token.size(),
            .scales = scales_,
            .headers = g_.headers.get()};
  }

  void move_tokens() {
    g_.write_grants(call_, offer_of(g_.board, outcome_.landing(), out_, rows_kept()), handle_->tables.row_base);
    const uint32_t warps = g_.warps_of(form_.channels);
    const bool silent = form_.tokens == 0 && planted<Plants>(Canary::kEmptyRankSilent);
    const bool forwards = g_.map.nodes > 1 && !silent;
    call_.arrivals_expected = warps * (forwards ? 2 : 1);
    g_.set_phase(Phase::kDispatch, rows_to_move());
    DispatchTrip t = trip_of(form_, tables(), outcome_.landing(), out_);
    t.call = call_;
    std::vector<Task> tasks;
    tasks.push_back([&](W& w) {
      grant_call(w, t.call);
      if (!form_.first) open_call(w, t.call);
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
  uint64_t rows_to_move() const {
    uint64_t sum = g_.map.peers + (outcome_.landing().direct ? 0 : rows_kept()) + (form_.first ? 0 : g_.cards_shown()) +
                   handle_->forwarded;
    for (const Route& r : handle_->tables.routes) sum += r.target != kNoRoute;
    return sum;
  }

  DispatchOutputs finish() {
    outcome_.throw_failure();
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
    const DispatchReport& report = handle_->report;
    out_.source_rows = report.source_rows;
    out_.rows_on_device = list(&report.rows_needed, 1, kI64);
    out_.rows_of_sources_on_device = list(report.source_rows.data(), int64_t(report.source_rows.size()), kI64);
    return std::move(out_);
  }

  void tell() {
    made_->report = {.call = made_->born,
                     .rows = out_.rows,
                     .rows_needed = out_.rows_needed,
                     .expert_counts = std::move(expert_counts_),
                     .source_rows = {},
                     .scale_out_rows = out_.scale_out_rows,
                     .status = out_.status};
    for (uint32_t r = 0; r < g_.map.ranks; ++r)
      made_->report.source_rows.push_back(int64_t(made_->kept(made_->tables.row_base[r + 1])));
    const std::vector<int64_t>& counts = made_->report.expert_counts;
    out_.expert_counts = counts;
    out_.expert_counts_on_device = list(counts.data(), int64_t(counts.size()), kI64);
  }

  bool overflows() const { return handle_->rows_kept() < handle_->rows_needed(); }
  // Only a call that makes a handle fails because room is short. A call with that handle drops the same rows again.
  bool fails() const { return overflows() && made_ && in_.overflow == Overflow::kFail; }
  [[noreturn]] void fail_for_room() const {
    const Status status = too_many_rows(handle_->rows_needed(), handle_->rows_max, Overflow::kFail);
    throw Error(status.code, status.message);
  }

  // Counts the rows of each expert that lie in x, because notify counted those that were dropped too.
  void count_kept_rows() {
    std::fill(expert_counts_.begin(), expert_counts_.end(), 0);
    with_ids([&](const auto* ids) {
      for (int64_t i = 0; i < out_.rows * int64_t(form_.shape.top_k); ++i)
        if (ids[i] >= 0) ++expert_counts_[size_t(ids[i])];
    });
    for (int64_t& n : expert_counts_) n = int64_t(round_up(uint64_t(n), in_.expert_alignment));
  }

  HostCalls<W>& g_;
  const DispatchInputs& in_;
  DispatchForm form_;
  Call call_{};
  Handle handle_;
  std::shared_ptr<HandleData> made_;  // the handle of a first dispatch, while it is written
  SpanTable forward_, arriving_;
  std::vector<int64_t> expert_counts_;
  BadExpert bad_;
  ScaleRows scales_{};
  DispatchOutcome outcome_;
  DispatchOutputs& out_ = outcome_.out;
};

template <class W>
DispatchOutputs HostCalls<W>::dispatch(const DispatchInputs& in) {
  refuse_if_poisoned();
  return whole_call("dispatch", [&] {
    std::optional<Error> refused;  // told to the others outside of the handler, because telling lets fibers run
    try {
      check_dispatch(*this, in);
    } catch (const Error& error) {
      if (in.handle || map.ranks == 1) throw;
      refused = error;
    }
    if (refused) refuse_alike(*refused);
    return DispatchCall<W>(*this, in).run();
  });
}

}  // namespace transload
