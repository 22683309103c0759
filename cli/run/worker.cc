// The work of a rank.
#include "cli/run/worker.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <new>
#include <utility>

#include "cli/run/safetensors.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "os/clock.h"
#include "runtime/group_options.h"

namespace transload::cli {

constexpr uint64_t kGaps = 1 << 20;  // gap between leases of a first and of a cached dispatch, which differ in length

struct Worker::Digest {
  XXH3_state_t* state = XXH3_createState();
  Digest() { XXH3_128bits_reset(state); }
  ~Digest() { XXH3_freeState(state); }
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(const void* data, size_t bytes) {
    if (bytes != 0) XXH3_128bits_update(state, data, bytes);
  }
  void add(const Tensor& tensor) { add(tensor, tensor.rows()); }
  void add(const Tensor& tensor, int64_t rows) {
    if (tensor.given()) add(tensor.data, size_t(rows) * tensor.row_bytes());
  }
  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    return text::format("{:016x}{:016x}", hash.high64, hash.low64);
  }
};

Worker::Worker(const Options& options, const Workload& workload, const Bootstrap& bootstrap, const StatusBoard& board)
    : options_(options),
      original_(workload),
      workload_(&workload),
      bootstrap_(bootstrap),
      rank_(bootstrap.rank),
      page_(board.of(bootstrap.rank)),
      checker_(options, workload, rank_, page_),
      injector_(options, workload, rank_, page_),
      meeting_(board, rank_, options.ranks(), options.group.deadline_ms) {
  result_.rank = rank_;
}

Worker::~Worker() = default;

int64_t Worker::rows_expected() const {
  return options_.rows_max > 0 ? options_.rows_max : int64_t(checker_.expected().source.size());
}

GroupOptions Worker::group_options(const Bootstrap& bootstrap) const {
  GroupOptions out = options_.group;
  out.bootstrap = bootstrap;
  out.tokens_max = std::max<uint64_t>(1, uint64_t(options_.tokens_max()));
  out.row_bytes_max = options_.row_bytes();
  out.scales_max = uint32_t(options_.payload.scale_words());
  out.top_k_max = options_.top_k;
  out.device = options_.device_of(rank_);
  out.progress = &page_.progress;
  out.slab_bytes = slab_bytes_needed(out, {.rows = rows_expected(), .tokens = options_.tokens[rank_]}) + kGaps;
  return out;
}

// Room for all tensors that the home holds, and for the experts' rows where combine pushes them.
size_t Worker::home_bytes_needed() const {
  const size_t tokens = size_t(options_.tokens[rank_]), received = size_t(rows_expected()), top_k = options_.top_k;
  size_t bytes = 2 * (home_bytes(tokens * options_.payload.row_bytes()) +
                      home_bytes(tokens * options_.payload.scale_words() * 4) + home_bytes(tokens * top_k * 4)) +
                 options_.biases * home_bytes(tokens * options_.row_bytes());
  if (options_.source == CombineSource::kPush)
    bytes += home_bytes(received * options_.row_bytes()) + home_bytes(received * top_k * 4) + 2 * kHomeUnit;
  return bytes;
}

WorkerResult Worker::run() {
  try {
    page_.entry_ns = now_ns();
    home_ = make_tensor_home(options_.device_of(rank_), home_bytes_needed());
    group_ = std::make_unique<Group>(group_options(bootstrap_));
    make_inputs();
    experts_ = group_->local_experts();
    checker_.local_experts(experts_);
    for (iteration_ = 1; iteration_ <= options_.warmup + options_.iterations; ++iteration_)
      if (!iterate()) break;
  } catch (const Error& error) {
    result_.fault_ns = now_ns();
    result_.entry_ns = page_.entry_ns;
    if (error.code() == Code::kFault)
      result_.fault = error.fault();
    else
      result_.error = one_line(error.what());
  } catch (const LeavesGroup&) {
    // A rank that leaves its group has nothing more to say.
  } catch (const std::bad_alloc&) {
    result_.error = "no memory left for the rows of a rank";
  }
  result_.mismatch = checker_.mismatch();
  if (group_ != nullptr) note_facts();
  return result_;
}

void Worker::make_inputs() {
  const int64_t tokens = options_.tokens[rank_], hidden = int64_t(options_.hidden);
  const Payload& payload = options_.payload;
  for (const auto& [sent, kind] : {std::pair{&x_, RowKind::kTokens}, {&gradients_, RowKind::kGradients}}) {
    *sent = make_sent(kind);
    sent->rows_there = home_->put(matrix(sent->rows.data(), tokens, hidden, payload.row_type()));
    if (payload.fp8)
      sent->scales_there =
          home_->put(matrix(sent->scales.data(), tokens, int64_t(payload.scale_words()), payload.scale_type()));
    ++page_.steps;
  }
  for (uint32_t b = 0; b < options_.biases; ++b) {
    bias_[b] = original_.make_rows(b == 0 ? RowKind::kBias0 : RowKind::kBias1, rank_);
    bias_there_[b] = home_->put(matrix(bias_[b].data(), tokens, hidden, kBf16));
    ++page_.steps;
  }
  const reference::Routes& routes = original_.problem().routes[rank_];
  ids_there_ = home_->put(matrix(routes.ids.data(), tokens, options_.top_k, kI32));
  weights_there_ = home_->put(matrix(routes.weights.data(), tokens, options_.top_k, kF32));
}

Worker::TravellingRows Worker::make_sent(RowKind kind) const {
  const Payload& payload = options_.payload;
  const size_t tokens = size_t(options_.tokens[rank_]), bytes = payload.row_bytes(), words = payload.scale_words();
  TravellingRows out{std::vector<char>(tokens * bytes), std::vector<uint32_t>(tokens * words), {}, {}};
  std::vector<uint16_t> row(options_.hidden);
  for (size_t t = 0; t < tokens; ++t) {
    original_.make_row(kind, {rank_, int64_t(t)}, row.data());
    payload.encode(row.data(), out.rows.data() + t * bytes, out.scales.data() + t * words);
  }
  return out;
}

void Worker::give(DispatchInputs& inputs, const TravellingRows& sent) const {
  inputs.x = sent.rows_there;
  inputs.scales = sent.scales_there;
  inputs.stream = home_->stream();
}

// Gives each iteration another routing, in the tensors that the calls were captured with. The last iteration has the
// one that was asked for.
void Worker::turn() {
  auto turned = std::make_unique<Workload>(original_.turned(options_.warmup + options_.iterations - iteration_));
  checker_.judge_by(*turned);
  workload_ = turned.get();
  turned_ = std::move(turned);
  const reference::Routes& routes = workload_->problem().routes[rank_];
  home_->write(ids_there_.data, routes.ids.data(), ids_there_.bytes());
  home_->write(weights_there_.data, routes.weights.data(), weights_there_.bytes());
}

void Worker::note_facts() {
  const MemoryReport memory = group_->memory();
  result_.ring_bytes = memory.ring_bytes;
  result_.counter_bytes = memory.counter_bytes;
  result_.ring_formula = memory.ring_formula == nullptr ? "" : memory.ring_formula;
  result_.scale_up = group_->scale_up_name();
  result_.scale_out = group_->scale_out_name();
  result_.decisions = group_->decisions();
}

bool Worker::iterate() {
  page_.iteration = iteration_;
  if (options_.graph) turn();
  if (iteration_ == options_.warmup + options_.iterations) {
    dispatch_digest_ = std::make_unique<Digest>();
    combine_digest_ = std::make_unique<Digest>();
  }
  if (!forward()) return false;
  again(kCachedDispatch, RowKind::kTokens);
  again(kBackwardDispatch, RowKind::kGradients);
  if (dispatch_digest_ == nullptr) return true;
  result_.dispatch_digest = dispatch_digest_->hex();
  result_.combine_digest = combine_digest_->hex();
  return true;
}

bool Worker::forward() {
  home_->forget();
  const std::optional<DispatchOutputs> out = dispatch_first();
  if (!out || workload_->anyone_fails()) return false;  // the rank that failed has no handle, so nobody can continue
  const DispatchOutputs& received = *out;
  const ExpertRows rows = expert(received, RowKind::kTokens, kCombine);
  const CombineOutputs combined = combine(kCombine, rows, RowKind::kTokens);
  result_.output_bytes = std::max(result_.output_bytes, group_->memory().leased_bytes);
  if (dispatch_digest_ != nullptr && !options_.dump.empty()) dump(received, rows, combined);
  return true;
}

// The backward pass calls with the handle of the forward pass, so no counts travel, only rows.
void Worker::again(IterationCall dispatch, RowKind kind) {
  home_->forget();
  const DispatchOutputs received = dispatch_cached(dispatch, kind);
  const ExpertRows rows = expert(received, kind, IterationCall(dispatch + 1));
  combine(IterationCall(dispatch + 1), rows, kind);
}

// Until `f` begins and after it ends no rank has a call in flight: copies and captures disturb nobody.
template <class F>
auto Worker::timed(IterationCall call, F f) {
  if (call != kCombine || !injector_.lost_before_combine(iteration_ - std::min(iteration_, options_.warmup)))
    meeting_.meet(*group_, true);
  page_.entry_ns = now_ns();
  home_->start();
  auto out = f();
  ++page_.steps;
  meeting_.meet(*group_, false);
  checker_.at(iteration_, call);
  if (iteration_ > options_.warmup) result_.call_us[call].push_back(home_->us());
  return out;
}

void Worker::finish() {
  home_->stop();
  group_->wait(home_->stream());
}

DispatchOutputs Worker::seen(const DispatchOutputs& given) {
  DispatchOutputs out = seen_by_host(*home_, given);
  if (!host_is_told()) complete(out, group_->report(given.handle, home_->stream()));
  return out;
}

CombineOutputs Worker::seen(const CombineOutputs& given) {
  CombineOutputs out = seen_by_host(*home_, given);
  if (!host_is_told()) out.scale_out_rows = group_->report(handle_, home_->stream()).scale_out_rows;
  return out;
}

DispatchOutputs Worker::seen(DispatchOutputs&& given) {
  DispatchOutputs out = seen(given);
  out.lease = std::move(given.lease);
  return out;
}

CombineOutputs Worker::seen(CombineOutputs&& given) {
  CombineOutputs out = seen(given);
  out.lease = std::move(given.lease);
  return out;
}

DispatchOutputs Worker::dispatch_now(const DispatchInputs& inputs) {
  DispatchOutputs out;
  if (!inputs.handle && replays(kFirstDispatch))
    replayed_.dispatch();
  else
    out = group_->dispatch(inputs);
  finish();
  return out;
}

CombineOutputs Worker::combine_now(IterationCall call, const CombineInputs& inputs) {
  CombineOutputs out;
  if (replays(call))
    replayed_.combine();
  else
    out = group_->combine(inputs);
  finish();
  return out;
}

std::optional<DispatchOutputs> Worker::dispatch_if_room(const DispatchInputs& inputs) {
  try {
    return dispatch_now(inputs);
  } catch (const Error& error) {
    if (error.code() != Code::kTooManyRows) throw;
    result_.error = text::format("rank {}: {}", rank_, one_line(error.what()));
    return std::nullopt;
  }
}

std::optional<DispatchOutputs> Worker::dispatch_first() {
  DispatchInputs inputs;
  give(inputs, x_);
  inputs.rows_max = options_.rows_max;
  inputs.overflow = options_.overflow;
  inputs.topk_idx = ids_there_;
  inputs.topk_weights = weights_there_;
  inputs.landing = options_.landing;
  if (replays(kFirstDispatch) && !replayed_.dispatch)
    replayed_.dispatch = home_->record([this, inputs] { replayed_.dispatched = group_->dispatch(inputs); });
  auto dispatched = timed(kFirstDispatch, [&] {
    if (iteration_ > options_.warmup) injector_.before_dispatch(iteration_ - options_.warmup);
    return dispatch_if_room(inputs);
  });
  checker_.failed_for_room(!dispatched);
  if (!dispatched) return dispatched;
  *dispatched = replays(kFirstDispatch) ? seen(replayed_.dispatched) : seen(std::move(*dispatched));
  DispatchOutputs& out = *dispatched;
  checker_.dispatch(out);
  learn(out);
  result_.landing = out.landing == Landing::kDirect ? "direct" : "ring";
  result_.dispatch_scale_out_rows = out.scale_out_rows;
  if (dispatch_digest_ != nullptr) {
    for (const Tensor* tensor : {&out.x, &out.scales, &out.topk_idx, &out.topk_weights, &out.source})
      dispatch_digest_->add(*tensor, out.rows);
    dispatch_digest_->add(out.expert_counts.data(), out.expert_counts.size() * sizeof(int64_t));
  }
  return dispatched;
}

DispatchOutputs Worker::dispatch_cached(IterationCall call, RowKind kind) {
  DispatchInputs inputs;
  give(inputs, kind == RowKind::kTokens ? x_ : gradients_);
  inputs.handle = handle_;
  inputs.landing = options_.landing;
  DispatchOutputs out = seen(timed(call, [&] { return dispatch_now(inputs); }));
  checker_.cached_dispatch(out, kind);
  if (dispatch_digest_ != nullptr) {
    dispatch_digest_->add(out.x, out.rows);
    dispatch_digest_->add(out.scales, out.rows);
  }
  return out;
}

CombineOutputs Worker::combine(IterationCall call, const ExpertRows& rows, RowKind kind) {
  CombineInputs inputs;
  inputs.x = home_->view(rows.rows.there, rows_held_, int64_t(options_.hidden), kBf16);
  inputs.handle = handle_;
  inputs.source = options_.source;
  inputs.wire = options_.group.combine_wire;
  inputs.stream = home_->stream();
  const bool backward = kind == RowKind::kGradients;
  const uint32_t biases = backward ? 0 : options_.biases;
  for (uint32_t b = 0; b < biases; ++b) inputs.bias[b] = bias_there_[b];
  if (backward) inputs.topk_weights = home_->view(rows.weights.there, rows_held_, options_.top_k, kF32);
  if (replays(call) && !replayed_.combine)
    replayed_.combine = home_->record([this, inputs] { replayed_.combined = group_->combine(inputs); });
  CombineOutputs given = timed(call, [&] {
    if (call == kCombine && iteration_ > options_.warmup) injector_.before_combine(iteration_ - options_.warmup);
    return combine_now(call, inputs);
  });
  CombineOutputs out = replays(call) ? seen(replayed_.combined) : seen(std::move(given));
  checker_.combine(out, kind, biases);
  if (backward) checker_.combined_weights(out);
  result_.source = out.source == CombineSource::kPull ? "pull" : "push";
  result_.combine_scale_out_rows = out.scale_out_rows;
  if (combine_digest_ != nullptr) {
    combine_digest_->add(out.x);
    combine_digest_->add(out.topk_weights);
  }
  return out;
}

// What the experts need to know of the rows that came, from the outputs themselves.
void Worker::learn(const DispatchOutputs& out) {
  const uint32_t top_k = options_.top_k;
  handle_ = out.handle;
  rows_ = out.rows;
  rows_held_ = out.x.rows();
  scales_.assign(size_t(rows_), 0.0f);
  weight_gradients_.assign(size_t(rows_held_) * top_k, 0.0f);
  for (int64_t m = 0; m < rows_; ++m) {
    const int32_t* source = out.source.as<int32_t>() + m * 2;
    for (uint32_t k = 0; k < top_k; ++k) {
      const size_t place = size_t(m) * top_k + k;
      const int32_t id = out.topk_idx.as<int32_t>()[place];
      if (id < 0 || size_t(id) >= experts_.size()) continue;
      scales_[size_t(m)] += out.topk_weights.as<float>()[place] * factor_of(experts_[size_t(id)]);
      weight_gradients_[place] = workload_->weight_gradient(rank_, {uint32_t(source[0]), source[1]}, k);
    }
  }
}

// `kept`: a lease that stays from one iteration to the next, because a captured call reads it.
Worker::RowsRoom Worker::room(OwnMemory& own, size_t bytes, Lease* kept) {
  RowsRoom out;
  bytes = std::max<size_t>(bytes, 16);
  if (options_.source == CombineSource::kPush) {
    if (own.bytes < bytes) own = {home_->room(bytes), bytes};
    out.there = own.data;
  } else {
    Lease& lease = kept != nullptr ? *kept : out.lease;
    if (lease.data() == nullptr) lease = group_->lease(bytes);
    if (options_.cuda && !lease.registered())
      throw Error(Code::kOutOfMemory, text::format("slab_bytes: {}: no room for the {} bytes of the experts' rows",
                                                   group_->options().slab_bytes, bytes));
    out.there = lease.data();
  }
  out.here = home_->draft(out.there, bytes);
  return out;
}

Worker::ExpertRows Worker::expert(const DispatchOutputs& received, RowKind kind, IterationCall next) {
  const Payload& payload = options_.payload;
  const size_t bytes = size_t(rows_held_) * options_.row_bytes();
  ExpertRows out{room(own_rows_, bytes, replays(next) ? &replayed_.rows : nullptr), {}};
  if (kind == RowKind::kGradients) {
    const size_t weight_bytes = weight_gradients_.size() * sizeof(float);
    out.weights = room(own_weights_, weight_bytes, nullptr);
    home_->write(out.weights.there, weight_gradients_.data(), weight_bytes);
  }
  std::vector<uint16_t> row(options_.hidden);
  // Rows that hold nothing are NaN, so that it shows if one is summed.
  std::fill(out.data() + size_t(rows_) * options_.hidden, out.data() + size_t(rows_held_) * options_.hidden, 0xFFFF);
  for (int64_t m = 0; m < rows_ && m < received.x.rows(); ++m) {
    payload.decode(received.x.as<char>() + size_t(m) * payload.row_bytes(),
                   received.scales.as<uint32_t>() + size_t(m) * payload.scale_words(), row.data());
    scale_row(row.data(), scales_[size_t(m)], options_.hidden, out.data() + size_t(m) * options_.hidden);
    page_.expert_rows = uint64_t(m) + 1;
    ++page_.steps;
    if (iteration_ > options_.warmup) injector_.after_expert_row(iteration_ - options_.warmup, m + 1);
  }
  home_->write(out.rows.there, out.rows.here, bytes);
  return out;
}

void Worker::dump(const DispatchOutputs& received, const ExpertRows& rows, const CombineOutputs& combined) {
  const reference::Routes& routes = workload_->problem().routes[rank_];
  const uint64_t tokens = uint64_t(routes.tokens), m = uint64_t(rows_), hidden = options_.hidden,
                 top_k = options_.top_k;
  std::vector<int32_t> counts(received.expert_counts.begin(), received.expert_counts.end());
  const Payload& payload = options_.payload;
  const char* const type = payload.fp8 ? "F8_E4M3" : "BF16";
  std::vector<StoredTensor> tensors = {{"x", type, {tokens, hidden}, x_.rows.data()},
                                       {"topk_idx", "I32", {tokens, top_k}, routes.ids.data()},
                                       {"topk_weights", "F32", {tokens, top_k}, routes.weights.data()},
                                       {"recv_x", type, {m, hidden}, received.x.data},
                                       {"recv_topk_idx", "I32", {m, top_k}, received.topk_idx.data},
                                       {"recv_topk_weights", "F32", {m, top_k}, received.topk_weights.data},
                                       {"recv_source", "I32", {m, 2}, received.source.data},
                                       {"recv_counts", "I32", {counts.size()}, counts.data()},
                                       {"expert_out", "BF16", {m, hidden}, rows.data()},
                                       {"combined_x", "BF16", {tokens, hidden}, combined.x.data}};
  if (const uint64_t words = payload.scale_words(); words > 0) {
    const char* const scale_type = payload.scales == ScaleType::kF32 ? "F32" : "I32";
    tensors.push_back({"scales", scale_type, {tokens, words}, x_.scales.data()});
    tensors.push_back({"recv_scales", scale_type, {m, words}, received.scales.data});
  }
  for (uint32_t b = 0; b < options_.biases; ++b)
    tensors.push_back({b == 0 ? "bias0" : "bias1", "BF16", {tokens, hidden}, bias_[b].data()});
  try {
    write_safetensors(dump_path(options_, rank_), tensors);
  } catch (const UsageError& error) {
    result_.error = error.what();  // not thrown, because the other ranks still expect this one
  }
}

}  // namespace transload::cli
