// See program.h.
#include "sim/program.h"

#include <algorithm>
#include <cstring>

#include "sim/checkers/conservation.h"
#include "sim/checkers/content.h"
#include "sim/checkers/order.h"
#include "sim/checkers/placement.h"
#include "sim/checkers/reuse.h"
#include "sim/checkers/sum.h"

namespace transload {
namespace {

constexpr char kScribble = char(0xEE);  // what a caller writes over its inputs once a call has returned

// 16-byte aligned memory of the caller's own.
struct Private {
  std::vector<uint64_t> words;
  explicit Private(size_t bytes) : words(bytes / 8 + 4) {}
  char* data() { return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(words.data()) + 15) & ~uintptr_t(15)); }
  void scribble() { std::memset(words.data(), kScribble, words.size() * 8); }
};

template <class T>
T one_of(const std::optional<T>& said, uint64_t drawn, T first, T second) {
  return said ? *said : drawn % 2 == 0 ? first : second;
}

}  // namespace

void Program::say(Checker checker, const std::string& wrong) {
  if (!wrong.empty()) s_.broken(checker, wrong);
}

void Program::run() {
  seat_.core.try_paths();
  uint32_t number = 0;
  for (const ScenarioCall& call : s_.scenario->calls)
    for (uint32_t i = 0; i < call.repeat && !s_.over(); ++i, ++number) {
      const uint64_t salt = mixed(s_.seed, number + 1);
      if (s_.scenario->compute_ms > 0) seat_.compute(mixed(salt, 31, me()) % (s_.scenario->compute_ms * 1'000'000));
      s_.began(number);
      if (call.op == ScenarioCall::Op::kCombine)
        combine(call, salt);
      else
        dispatch(call, salt);
      ++calls_done_;
    }
}

void Program::keep(const ScenarioCall& call, Lease lease) {
  if (call.keep_leases == 0 || call.hold_on_rank != me()) return held_.clear();
  held_.push_back(std::move(lease));
  while (held_.size() > call.keep_leases) held_.pop_front();
}

void Program::dispatch(const ScenarioCall& call, uint64_t salt) {
  const bool cached = call.op == ScenarioCall::Op::kCached;
  if (!cached) {
    dispatched_ = dispatches_++;
    dispatch_call_ = &call;
  }
  const reference::Problem& problem = s_.routings->of(dispatched_, *dispatch_call_).problem;
  reference::Routes routes = problem.routes[me()];
  const size_t bytes = call.hidden_bytes, tokens = size_t(routes.tokens);
  Private x(tokens * bytes);
  std::vector<uint32_t> scales(tokens * call.scales + 1);
  for (size_t t = 0; t < tokens; ++t) {
    make_row(salt, {me(), int64_t(t)}, bytes, x.data() + t * bytes);
    for (uint32_t c = 0; c < call.scales; ++c) scales[t * call.scales + c] = make_scale(salt, me(), int64_t(t), c);
  }
  DispatchInputs in;
  in.x = matrix(x.data(), int64_t(tokens), int64_t(bytes / 2), kBf16);
  if (call.scales > 0) in.scales = matrix(scales.data(), int64_t(tokens), call.scales, kF32);
  if (cached) {
    in.handle = handle_;
  } else {
    in.topk_idx = matrix(routes.ids.data(), int64_t(tokens), problem.top_k, kI32);
    in.topk_weights = matrix(routes.weights.data(), int64_t(tokens), problem.top_k, kF32);
  }
  in.landing = one_of(call.landing, drawn(salt, me()), Landing::kAuto, Landing::kRing);
  in.channels = call.channels;
  seat_.operation = "dispatch";
  DispatchOutputs out = seat_.core.dispatch(in);
  // The caller has its inputs back.
  x.scribble();
  std::fill(scales.begin(), scales.end(), ~uint32_t(0));
  std::fill(routes.ids.begin(), routes.ids.end(), 0);
  check({problem, received(), out, salt, bytes, call.scales, cached});
  handle_ = out.handle;
  keep(call, std::move(out.lease));
}

void Program::check(const DispatchResult& r) {
  s_.flights->host_load(static_cast<const char*>(r.out.x.data), r.out.x.bytes());
  const std::string lost = check_conservation(r);
  say(Checker::kConservation, lost);
  if (!lost.empty()) return;  // nothing else can be told of these rows
  say(Checker::kOrder, check_order(r));
  say(Checker::kPlacement, check_placement(r));
  say(Checker::kContent, check_content(r));
  say(Checker::kReuse, check_at_rest(*s_.flights, r.out.x.data, r.out.x.bytes(), "the rows"));
}

void Program::combine(const ScenarioCall& call, uint64_t salt) {
  const reference::Problem& problem = s_.routings->of(dispatched_, *dispatch_call_).problem;
  const reference::Received& mine = received();
  const size_t bytes = call.hidden_bytes, rows = mine.source.size(), k = problem.top_k;
  const CombineSource source = one_of(call.source, drawn(salt, me()), CombineSource::kAuto, CombineSource::kPush);
  const size_t weights_at = round_up(rows * bytes, 16), all = weights_at + rows * k * 4;
  Lease lease;
  Private heap(source == CombineSource::kPush ? all : 0);
  if (source != CombineSource::kPush) lease = seat_.core.lease(all);
  char* const y = source == CombineSource::kPush ? heap.data() : static_cast<char*>(lease.data());
  auto* const weights = reinterpret_cast<float*>(y + weights_at);
  for (size_t i = 0; i < rows; ++i) {
    make_row(return_salt(salt, me()), mine.source[i], bytes, y + i * bytes);
    for (uint32_t j = 0; j < k; ++j) weights[i * k + j] = make_weight(salt, me(), mine.source[i], j);
  }
  s_.flights->host_store(y, all);
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
  in.channels = call.channels;
  seat_.operation = "combine";
  CombineOutputs out = seat_.core.combine(in);
  // The caller has its rows back: nobody may read them any more.
  say(Checker::kReuse, check_at_rest(*s_.flights, y, all, "the rows that experts returned"));
  std::memset(y, kScribble, all);
  biases.scribble();
  say(Checker::kSum,
      check_sum({problem, out, me(), salt, bytes, in.wire == CombineWire::kF32, call.weights, int(call.biases)}));
  keep(call, std::move(out.lease));
}

}  // namespace transload
