// Making the calls of a scenario, and comparing every output with the reference's.
#include "sim/world/program.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/time_units.h"
#include "sim/checkers/conservation.h"
#include "sim/checkers/content.h"
#include "sim/checkers/order.h"
#include "sim/checkers/placement.h"
#include "sim/checkers/sum.h"

namespace transload {
namespace {

template <class T>
T one_of(const std::optional<T>& said, uint64_t drawn, T first, T second) {
  return said ? *said : drawn % 2 == 0 ? first : second;
}

const std::string kRefused = "topk_idx: float32, must be int32 or int64";

}  // namespace

void Program::say(Checker checker, const std::string& wrong) {
  if (!wrong.empty()) s_.broken(checker, wrong);
}

void Program::run() {
  caller_.arrive();
  uint32_t number = 0;
  for (const ScenarioCall& call : s_.scenario->calls)
    for (uint32_t i = 0; i < call.repeat && !s_.over(); ++i, ++number) {
      const uint64_t salt = mixed(s_.seed, number + 1);
      if (s_.scenario->compute_ms > 0)
        caller_.compute(mixed(salt, 31, me()) % (s_.scenario->compute_ms * kMillisecondNs));
      turn_ = s_.began(number);
      if (turn_ == CallerTurn::kLeaves) return;
      if (call.op == ScenarioCall::CallKind::kCombine)
        combine(call, salt);
      else
        dispatch(call, salt);
      ++calls_done_;
    }
}

uint32_t Program::channels_of(const ScenarioCall& call) const {
  if (turn_ != CallerTurn::kCallsOther) return call.channels;
  return call.channels > 1 ? call.channels - 1 : 2;
}

void Program::keep(const ScenarioCall& call, Lease lease) {
  if (call.keep_leases == 0 || call.hold_on_rank != me()) return held_.clear();
  held_.push_back(std::move(lease));
  while (held_.size() > call.keep_leases) held_.pop_front();
}

// Scales as callers have them: rows that follow each other, rows with a gap, or column by column.
Tensor Program::make_scales(const ScenarioCall& call, uint64_t salt) {
  const int64_t tokens = s_.routings->of(dispatched_, *dispatch_call_).problem.routes[me()].tokens;
  const int64_t columns = call.scales, manner = int64_t(drawn(salt, me() + 2000) % 3);
  Tensor out = matrix(nullptr, tokens, columns, call.scale_dtype);
  out.strides[0] = manner == 2 ? 1 : columns + manner * 3;
  out.strides[1] = manner == 2 ? std::max<int64_t>(tokens, 1) : 1;
  scales_.assign(size_t((tokens + 1) * (columns + 3)), ~uint32_t(0));
  out.data = scales_.data();
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t c = 0; c < columns; ++c)
      scales_[size_t(t * out.strides[0] + c * out.strides[1])] = make_scale(salt, me(), t, uint32_t(c));
  return out;
}

// True if the latest dispatch must fail on this rank: its overflow is kFail, and more rows come than rows_max.
bool Program::must_fail(uint32_t rank) {
  if (dispatch_call_->overflow != Overflow::kFail) return false;
  const int64_t most = s_.routings->of(dispatched_, *dispatch_call_).rows_max_of(rank);
  return most > 0 && s_.routings->received(dispatched_, *dispatch_call_, rank).needed > most;
}

// True if the latest dispatch fails on some rank. Calls that need its handle of all ranks are then left out.
bool Program::nobody_has_handle() {
  for (uint32_t rank = 0; rank < s_.routings->ranks(); ++rank)
    if (must_fail(rank)) return true;
  return false;
}

// What a rank is told of a dispatch that some ranks refuse: its own refusal, else that of the lowest.
std::string Program::refusal_of(const ScenarioCall& call) const {
  if (std::count(call.refused_on.begin(), call.refused_on.end(), me()) > 0) return kRefused;
  return kRefused + (" (rank " + std::to_string(*std::min_element(call.refused_on.begin(), call.refused_on.end()))) +
         ")";
}

// Makes a dispatch that some ranks refuse. The handle stays that of the dispatch before, for the calls that follow.
void Program::refused_dispatch(const ScenarioCall& call) {
  const bool mine = std::count(call.refused_on.begin(), call.refused_on.end(), me()) > 0;
  Private x(call.hidden_bytes);
  int64_t id = 0;
  float weight = 1;
  DispatchInputs in;
  in.x = matrix(x.data(), 1, int64_t(call.hidden_bytes / 2), kBf16);
  in.topk_idx = matrix(&id, 1, 1, mine ? kF32 : kI64);
  in.topk_weights = matrix(&weight, 1, 1, kF32);
  try {
    caller_.dispatch(in);
    say(Checker::kConservation, "a dispatch that a rank refused was made");
  } catch (const Error& error) {
    if (error.code() == Code::kFault) throw;
    if (error.what() != refusal_of(call))
      say(Checker::kConservation, std::string("a dispatch that a rank refused says: ") + error.what());
  }
}

void Program::dispatch(const ScenarioCall& call, uint64_t salt) {
  if (!call.refused_on.empty()) return refused_dispatch(call);
  const bool cached = call.op == ScenarioCall::CallKind::kCached;
  if (!cached) {
    dispatched_ = dispatches_++;
    dispatch_call_ = &call;
  } else if (nobody_has_handle()) {
    return;
  }
  const Routings::OneDispatch& made = s_.routings->of(dispatched_, *dispatch_call_);
  reference::Routes routes = made.problem.routes[me()];
  std::vector<int64_t> wide(routes.ids.begin(), routes.ids.end());
  const size_t bytes = call.hidden_bytes, tokens = size_t(routes.tokens);
  Private x(tokens * bytes);
  for (size_t t = 0; t < tokens; ++t) make_row(salt, {me(), int64_t(t)}, bytes, x.data() + t * bytes);
  DispatchInputs in;
  in.x = matrix(x.data(), int64_t(tokens), int64_t(bytes * 8 / call.dtype.bits), call.dtype);
  if (call.scales > 0) in.scales = make_scales(call, salt);
  if (cached) {
    in.handle = handle_;
  } else {
    in.topk_idx = call.wide_ids ? matrix(wide.data(), int64_t(tokens), made.problem.top_k, kI64)
                                : matrix(routes.ids.data(), int64_t(tokens), made.problem.top_k, kI32);
    in.topk_weights = matrix(routes.weights.data(), int64_t(tokens), made.problem.top_k, kF32);
    in.rows_max = made.rows_max_of(me());
    in.overflow = call.overflow;
    in.expert_alignment = call.expert_alignment;
  }
  in.landing = one_of(call.landing, drawn(salt, me()), Landing::kAuto, Landing::kRing);
  in.channels = channels_of(call);
  try {
    DispatchOutputs out = caller_.dispatch(in);
    // A call that has returned reads its inputs no more, so they may be written over.
    x.scribble();
    std::fill(scales_.begin(), scales_.end(), ~uint32_t(0));
    std::fill(routes.ids.begin(), routes.ids.end(), 0);
    std::fill(wide.begin(), wide.end(), 0);
    if (!cached && must_fail(me())) return say(Checker::kConservation, "a dispatch with too many rows did not fail");
    check({.problem = made.problem,
           .want = received(),
           .out = out,
           .salt = salt,
           .row_bytes = bytes,
           .scales = call.scales,
           .cached = cached,
           .rows_max = made.rows_max_of(me())});
    if (s_.audience != nullptr) s_.audience->dispatched(me(), calls_done_, out);
    handle_ = out.handle;
    keep(call, std::move(out.lease));
  } catch (const Error& error) {
    if (error.code() != Code::kTooManyRows) throw;
    x.scribble();
    if (cached || !must_fail(me())) say(Checker::kConservation, std::string("a dispatch failed: ") + error.what());
    handle_ = nullptr;
  }
}

void Program::check(const DispatchResult& r) {
  caller_.loads(r.out.x.data, size_t(r.out.rows) * r.row_bytes);  // only the rows that came: the tensor may be longer
  const std::string lost = check_conservation(r);
  say(Checker::kConservation, lost);
  if (!lost.empty()) return;  // the other checks need the right number of rows
  say(Checker::kOrder, check_order(r));
  say(Checker::kPlacement, check_placement(r));
  say(Checker::kContent, check_content(r));
  say(Checker::kReuse, caller_.at_rest(r.out.x.data, r.out.x.bytes(), "the rows"));
}

void Program::combine(const ScenarioCall& call, uint64_t salt) {
  if (nobody_has_handle()) return;
  const Routings::OneDispatch& made = s_.routings->of(dispatched_, *dispatch_call_);
  const reference::Problem& problem = made.problem;
  const reference::Received& mine = received();
  const size_t kept = mine.source.size(), most = size_t(made.rows_max_of(me()));
  const size_t bytes = call.hidden_bytes, rows = most > 0 ? most : kept, k = problem.top_k;
  const CombineSource source = one_of(call.source, drawn(salt, me()), CombineSource::kAuto, CombineSource::kPush);
  const size_t weights_at = round_up(rows * bytes, 16), all = weights_at + rows * k * 4;
  const ExpertRoom room = caller_.room(all, source != CombineSource::kPush);
  char* const y = room.at;
  auto* const weights = reinterpret_cast<float*>(y + weights_at);
  std::memset(y, kScribble, all);  // rows past the kept ones hold nothing that counts
  for (size_t i = 0; i < kept; ++i) {
    make_row(return_salt(salt, me()), mine.source[i], bytes, y + i * bytes);
    for (uint32_t j = 0; j < k; ++j) weights[i * k + j] = make_weight(salt, me(), mine.source[i], j);
  }
  caller_.stores(y, all);
  CombineInputs in;
  in.x = matrix(y, int64_t(rows), int64_t(bytes / 2), kBf16);
  in.handle = handle_;
  if (call.weights) in.topk_weights = matrix(weights, int64_t(rows), int64_t(k), kF32);
  const size_t tokens = size_t(problem.routes[me()].tokens);
  Private biases(call.biases * tokens * bytes);
  for (uint32_t b = 0; b < call.biases; ++b) {
    char* const at = biases.data() + b * tokens * bytes;
    for (size_t t = 0; t < tokens; ++t) make_row(bias_salt(salt, int(b)), {me(), int64_t(t)}, bytes, at + t * bytes);
    in.bias[b] = matrix(at, int64_t(tokens), int64_t(bytes / 2), kBf16);
  }
  in.source = source;
  in.wire = one_of(call.wire, drawn(salt, 999), CombineWire::kBf16, CombineWire::kF32);
  in.channels = channels_of(call);
  CombineOutputs out = caller_.combine(in);
  // The caller has its rows back: nobody may read them any more.
  say(Checker::kReuse, caller_.at_rest(y, all, "the rows that experts returned"));
  std::memset(y, kScribble, all);
  biases.scribble();
  say(Checker::kSum, check_sum({.problem = problem,
                                .out = out,
                                .rank = me(),
                                .salt = salt,
                                .row_bytes = bytes,
                                .wire_f32 = in.wire == CombineWire::kF32,
                                .weights = call.weights,
                                .biases = int(call.biases)}));
  if (s_.audience != nullptr) s_.audience->combined(me(), calls_done_, out);
  keep(call, std::move(out.lease));
}

}  // namespace transload
