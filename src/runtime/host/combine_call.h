// Group::combine: the way back, over the handle of a dispatch.
#pragma once
#include <utility>

#include "base/situations.h"
#include "protocol/call/cards.h"
#include "protocol/call/close.h"
#include "protocol/call/grants.h"
#include "protocol/combine/forwarder.h"
#include "protocol/combine/receiver.h"
#include "protocol/combine/sender.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/combine_form.h"
#include "runtime/call/outcome.h"
#include "runtime/host/host_calls.h"

namespace transload {

// One combine of one rank, step by step.
template <class W>
class CombineCall {
 public:
  CombineCall(HostCalls<W>& group, const CombineInputs& in)
      : g_(group), in_(in), handle_(*in.handle), form_(group, in), outcome_(group, form_, in, {kDLCPU, 0}) {}

  CombineOutputs run() {
    pull_ = choose_source(g_, in_, out_);
    if (pull_) reached<typename W::Plants>(Situation::kSourcePull);
    outcome_.take();
    forward_ = forward_spans(handle_.tables, form_.channels);
    rows_of_ = row_spans(handle_.tables, form_.rows_max, form_.channels);
    begin();
    g_.write_grants(call_, offer_of(g_.board, pull_, in_, handle_.rows_kept()), handle_.tables.row_base);
    move_rows();
    outcome_.throw_failure();
    out_.scale_out_rows = int64_t(handle_.sent_to_nodes);
    return std::move(out_);
  }

 private:
  using Task = typename Crew<W>::Task;

  void begin() {
    g_.card = form_.card;
    g_.card.handle = handle_name(g_.common_id, handle_.born);
    g_.begin_call(call_, Phase::kCombine, rows_to_move(), in_.deadline_ms);
  }

  // What Progress counts: cards, grants, rows pushed, partial sums, results.
  uint64_t rows_to_move() const {
    return g_.cards_shown() + g_.map.peers + (pull_ ? 0 : handle_.rows_kept()) + handle_.tables.log_token.size() +
           handle_.tokens;
  }

  void move_rows() {
    const uint32_t warps = g_.warps_of(form_.channels);
    const bool forwards = g_.map.nodes > 1;
    call_.arrivals_expected = warps * (1 + (forwards ? 1 : 0) + (pull_ ? 0 : 1));
    CombineTrip t = trip_of(form_, in_,
                            {.up_positions = g_.combine_up.view(),
                             .rail_positions = g_.combine_rail.view(),
                             .handle = view_of(handle_.tables),
                             .forward = forward_.view(),
                             .rows_of = rows_of_.view()},
                            out_);
    t.call = call_;
    t.spare_out = outcome_.failed();
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
  const CombineForm form_;
  Call call_{};
  bool pull_ = false;
  SpanTable forward_, rows_of_;
  CombineOutcome outcome_;
  CombineOutputs& out_ = outcome_.out;
};

template <class W>
CombineOutputs HostCalls<W>::combine(const CombineInputs& in) {
  refuse_if_poisoned();
  return whole_call("combine", [&] {
    check_combine(*this, in);
    return CombineCall<W>(*this, in).run();
  });
}

}  // namespace transload
