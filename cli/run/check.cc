// Comparing outputs with the oracle.
#include "cli/run/check.h"

#include <cstring>

#include "cli/show/usage.h"
#include "cli/text.h"

namespace transload::cli {
namespace {

std::string hex(const void* data, size_t bytes) {
  std::string out = "0x";
  for (size_t i = bytes; i-- > 0;) out += text::format("{:02x}", static_cast<const uint8_t*>(data)[i]);
  return out;
}

}  // namespace

float expert_scale(const reference::Problem& problem, uint32_t owner, reference::Source token) {
  const reference::Routes& routes = problem.routes[token.rank];
  float scale = 0;
  for (size_t k = size_t(token.token) * problem.top_k; k < size_t(token.token + 1) * problem.top_k; ++k) {
    const int32_t id = routes.ids[k];
    if (id >= 0 && problem.owner[size_t(id)] == owner) scale += routes.weights[k] * factor_of(uint32_t(id));
  }
  return scale;
}

ResultChecker::ResultChecker(const Options& options, const Workload& workload, uint32_t rank, StatusPage& page)
    : options_(options),
      workload_(&workload),
      rank_(rank),
      page_(page),
      received_(reference::received_by(workload.problem(), rank)),
      traffic_(traffic_of(workload.problem())) {}

void ResultChecker::judge_by(const Workload& workload) {
  workload_ = &workload;
  received_ = reference::received_by(workload.problem(), rank_);
  traffic_ = traffic_of(workload.problem());
}

bool ResultChecker::same(const Compared& compared) {
  ++page_.steps;
  if (compared.bytes == 0 || std::memcmp(compared.expected, compared.seen, compared.bytes) == 0) return true;
  if (mismatch_) return false;
  const char* expected = static_cast<const char*>(compared.expected);
  const char* seen = static_cast<const char*>(compared.seen);
  size_t byte = 0;
  while (expected[byte] == seen[byte]) ++byte;
  const size_t value = byte / compared.unit * compared.unit;
  mismatch_ = WrongValue{.output = compared.output,
                         .iteration = iteration_,
                         .call = call_,
                         .rank = rank_,
                         .row = compared.row,
                         .byte = int64_t(byte),
                         .expected = hex(expected + value, compared.unit),
                         .seen = hex(seen + value, compared.unit)};
  return false;
}

bool ResultChecker::same_number(const char* output, int64_t expected, int64_t seen) {
  if (expected == seen) return true;
  if (!mismatch_)
    mismatch_ = WrongValue{.output = output,
                           .iteration = iteration_,
                           .call = call_,
                           .rank = rank_,
                           .row = 0,
                           .byte = 0,
                           .expected = std::to_string(expected),
                           .seen = std::to_string(seen)};
  return false;
}

bool ResultChecker::same_shape(const char* output, const Tensor& seen, int64_t columns, DLDataType dtype) {
  const std::string name = output;
  return same_number((name + " dimensions").c_str(), 2, seen.ndim) &&
         same_number((name + " columns").c_str(), columns, seen.columns()) &&
         same_number((name + " dtype").c_str(), true, same_type(seen.dtype, dtype)) &&
         same_number((name + " row stride").c_str(), columns, seen.strides[0]);
}

void ResultChecker::rows_of(const char* output, const DispatchOutputs& outputs, RowKind kind) {
  const int64_t rows = int64_t(received_.source.size());
  if (!same_number((std::string(output) + " count").c_str(), rows, outputs.rows)) return;
  same_number("dispatch.scale_out_rows", traffic_.scale_out_sent[rank_], outputs.scale_out_rows);
  same_number("dispatch.rows_needed", received_.needed, outputs.rows_needed);
  same_number("dispatch.status", int64_t(rows < received_.needed ? Code::kTooManyRows : Code::kOk),
              int64_t(outputs.status.code));
  const int64_t held = options_.rows_max > 0 ? options_.rows_max : rows;
  if (rows == 0 || !same_number((std::string(output) + " rows").c_str(), held, outputs.x.rows())) return;
  const Payload& payload = options_.payload;
  if (!same_shape(output, outputs.x, int64_t(options_.hidden), payload.row_type())) return;
  const size_t row_bytes = payload.row_bytes(), words = payload.scale_words();
  if (words > 0 && !same_shape("dispatch.scales", outputs.scales, int64_t(words), payload.scale_type())) return;
  std::vector<uint16_t> row(options_.hidden);
  std::vector<char> sent(row_bytes);
  std::vector<uint32_t> scales(words);
  for (int64_t m = 0; m < rows; ++m) {
    workload_->make_row(kind, received_.source[size_t(m)], row.data());
    payload.encode(row.data(), sent.data(), scales.data());
    if (!same({.output = output,
               .row = m,
               .expected = sent.data(),
               .seen = outputs.x.as<char>() + size_t(m) * row_bytes,
               .bytes = row_bytes,
               .unit = payload.fp8 ? 1u : 2u}))
      return;
    if (words > 0 && !same({.output = "dispatch.scales",
                            .row = m,
                            .expected = scales.data(),
                            .seen = outputs.scales.as<uint32_t>() + size_t(m) * words,
                            .bytes = words * 4,
                            .unit = 4}))
      return;
  }
}

void ResultChecker::dispatch(const DispatchOutputs& outputs) {
  rows_of("dispatch.x", outputs, RowKind::kTokens);
  const size_t columns = options_.top_k, experts = received_.expert_counts.size();
  if (same_number("dispatch.expert_counts count", int64_t(experts), int64_t(outputs.expert_counts.size())))
    for (size_t e = 0; e < experts; ++e)
      same({.output = "dispatch.expert_counts",
            .row = int64_t(e),
            .expected = &received_.expert_counts[e],
            .seen = &outputs.expert_counts[e],
            .bytes = 8,
            .unit = 8});
  const size_t rows = received_.source.size();
  if (rows == 0 || outputs.rows != int64_t(rows)) return;
  if (!same_shape("dispatch.topk_idx", outputs.topk_idx, int64_t(columns), kI32)) return;
  if (!same_shape("dispatch.topk_weights", outputs.topk_weights, int64_t(columns), kF32)) return;
  if (!same_shape("dispatch.source", outputs.source, 2, kI32)) return;
  for (size_t m = 0; m < rows; ++m) {
    const int32_t source[2] = {int32_t(received_.source[m].rank), int32_t(received_.source[m].token)};
    same({.output = "dispatch.source",
          .row = int64_t(m),
          .expected = source,
          .seen = outputs.source.as<int32_t>() + m * 2,
          .bytes = 8,
          .unit = 4});
    same({.output = "dispatch.topk_idx",
          .row = int64_t(m),
          .expected = &received_.ids[m * columns],
          .seen = outputs.topk_idx.as<int32_t>() + m * columns,
          .bytes = columns * 4,
          .unit = 4});
    same({.output = "dispatch.topk_weights",
          .row = int64_t(m),
          .expected = &received_.weights[m * columns],
          .seen = outputs.topk_weights.as<float>() + m * columns,
          .bytes = columns * 4,
          .unit = 4});
  }
}

void ResultChecker::cached_dispatch(const DispatchOutputs& outputs, RowKind kind) {
  rows_of(kind == RowKind::kTokens ? "cached_dispatch.x" : "backward_dispatch.x", outputs, kind);
}

void ResultChecker::combine(const CombineOutputs& outputs, RowKind kind, uint32_t biases) {
  const char* output = kind == RowKind::kTokens ? "combine.x" : "backward_combine.x";
  const reference::Problem& problem = workload_->problem();
  const int64_t tokens = options_.tokens[rank_];
  same_number("combine.scale_out_rows", traffic_.scale_out_sent[rank_], outputs.scale_out_rows);
  if (tokens == 0) return;
  if (!same_number("combine.x rows", tokens, outputs.x.rows()) ||
      !same_shape(output, outputs.x, int64_t(options_.hidden), kBf16))
    return;
  const uint64_t hidden = options_.hidden;
  std::vector<uint16_t> row(hidden), scaled(hidden), bias[2] = {row, row}, sum(hidden);
  std::vector<char> sent(options_.payload.row_bytes());
  std::vector<uint32_t> scales(options_.payload.scale_words());
  const auto returned = [&](uint32_t owner, reference::Source token) {
    scale_row(row.data(), expert_scale(problem, owner, token), hidden, scaled.data());
    return scaled.data();
  };
  for (int64_t t = 0; t < tokens; ++t) {
    reference::SumInputs inputs;
    inputs.token = {rank_, t};
    inputs.columns = int64_t(hidden);
    inputs.wire_f32 = options_.group.combine_wire == CombineWire::kF32;
    for (uint32_t b = 0; b < biases; ++b) {
      workload_->make_row(b == 0 ? RowKind::kBias0 : RowKind::kBias1, inputs.token, bias[b].data());
      inputs.bias[b] = bias[b].data();
    }
    workload_->make_row(kind, inputs.token, row.data());
    options_.payload.encode(row.data(), sent.data(), scales.data());
    options_.payload.decode(sent.data(), scales.data(), row.data());
    reference::sum(problem, inputs, returned, sum.data());
    if (!same({.output = output,
               .row = t,
               .expected = sum.data(),
               .seen = outputs.x.as<char>() + size_t(t) * options_.row_bytes(),
               .bytes = options_.row_bytes(),
               .unit = 2}))
      return;
  }
}

void ResultChecker::combined_weights(const CombineOutputs& outputs) {
  const char* output = "backward_combine.topk_weights";
  const reference::Problem& problem = workload_->problem();
  const uint32_t top_k = options_.top_k;
  const int64_t tokens = options_.tokens[rank_];
  if (tokens == 0) return;
  if (!same_number("backward_combine.topk_weights rows", tokens, outputs.topk_weights.rows()) ||
      !same_shape(output, outputs.topk_weights, top_k, kF32))
    return;
  std::vector<float> row(top_k), sum(top_k);
  const auto returned = [&](uint32_t owner, reference::Source token) {
    for (uint32_t k = 0; k < top_k; ++k) {
      const int32_t id = problem.routes[token.rank].ids[size_t(token.token) * top_k + k];
      row[k] = id >= 0 && problem.owner[size_t(id)] == owner ? workload_->weight_gradient(owner, token, k) : 0.0f;
    }
    return row.data();
  };
  for (int64_t t = 0; t < tokens; ++t) {
    reference::sum_weights(problem, {rank_, t}, returned, sum.data());
    same({.output = output,
          .row = t,
          .expected = sum.data(),
          .seen = outputs.topk_weights.as<float>() + size_t(t) * top_k,
          .bytes = top_k * sizeof(float),
          .unit = 4});
  }
}

void ResultChecker::local_experts(const std::vector<uint32_t>& seen) {
  std::vector<uint32_t> expected;
  for (uint32_t e = 0; e < workload_->problem().owner.size(); ++e)
    if (workload_->problem().owner[e] == rank_) expected.push_back(e);
  if (!same_number("local_experts count", int64_t(expected.size()), int64_t(seen.size()))) return;
  same({.output = "local_experts",
        .row = 0,
        .expected = expected.data(),
        .seen = seen.data(),
        .bytes = expected.size() * 4,
        .unit = 4});
}

}  // namespace transload::cli
