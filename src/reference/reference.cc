// Dispatch and combine in plain lines.
#include "reference/reference.h"

#include <algorithm>
#include <utility>

#include "base/float.h"
#include "base/float_mode.h"

namespace transload::reference {
namespace {

// The owner of a choice, or -1.
int64_t owner_of(const Problem& problem, int32_t id) {
  return id >= 0 && size_t(id) < problem.owner.size() ? int64_t(problem.owner[size_t(id)]) : -1;
}

float as_float(uint16_t value) { return f32_from_bf16(value); }
float as_float(float value) { return value; }

// The rows of a token, and what becomes of a partial sum that crosses between nodes.
template <class Value>
struct Summed {
  Source token;
  const FindRow<Value>& row;
  float (*wire)(float);
};

// total = (total + S_0) + S_1 + ..., S_n = ((+0 + row) + row) + ...
template <class Value>
void add_nodes(const Problem& problem, const Summed<Value>& summed, std::vector<float>& total) {
  const Source token = summed.token;
  const uint32_t origin_node = node_of(problem, token.rank);
  const auto owners = owners_by_node(problem, token);
  for (uint32_t node = 0; node < owners.size(); ++node) {
    if (owners[node].empty()) continue;
    std::vector<float> partial(total.size(), 0.0f);
    bool any = false;
    for (const uint32_t owner : owners[node]) {
      if (!kept(problem, owner, token)) continue;
      any = true;
      const Value* values = summed.row(owner, token);
      for (size_t i = 0; i < partial.size(); ++i) partial[i] += as_float(values[i]);
    }
    if (node == origin_node && !any) continue;
    if (node != origin_node)
      for (float& value : partial) value = summed.wire(value);
    for (size_t i = 0; i < partial.size(); ++i) total[i] += partial[i];
  }
}

}  // namespace

uint32_t node_of(const Problem& problem, uint32_t rank) {
  uint32_t node = 0;
  for (uint32_t first = 0; first + problem.node_sizes[node] <= rank; ++node) first += problem.node_sizes[node];
  return node;
}

void limit_rows(Problem& problem, const std::vector<int64_t>& rows_max) {
  problem.drop_from.clear();
  if (rows_max.empty()) return;
  const Source none{uint32_t(problem.routes.size()), 0};
  std::vector<Source> drop_from;
  for (uint32_t rank = 0; rank < problem.routes.size(); ++rank) {
    const std::vector<Source> all = received_by(problem, rank).source;
    const int64_t most = rows_max[rank];
    drop_from.push_back(most > 0 && most < int64_t(all.size()) ? all[size_t(most)] : none);
  }
  problem.drop_from = std::move(drop_from);
}

bool kept(const Problem& problem, uint32_t owner, Source token) {
  if (problem.drop_from.empty()) return true;
  const Source from = problem.drop_from[owner];
  return token.rank < from.rank || (token.rank == from.rank && token.token < from.token);
}

Received received_by(const Problem& problem, uint32_t rank, uint32_t alignment) {
  Received out;
  std::vector<int32_t> local(problem.owner.size(), -1);
  for (size_t e = 0; e < local.size(); ++e)
    if (problem.owner[e] == rank) {
      local[e] = int32_t(out.expert_counts.size());
      out.expert_counts.push_back(0);
    }
  for (uint32_t source = 0; source < problem.routes.size(); ++source) {
    const Routes& routes = problem.routes[source];
    for (int64_t token = 0; token < routes.tokens; ++token) {
      const size_t first = size_t(token) * problem.top_k;
      const auto mine = [&](size_t k) { return owner_of(problem, routes.ids[first + k]) == int64_t(rank); };
      bool any = false;
      for (size_t k = 0; k < problem.top_k; ++k) any = any || mine(k);
      if (!any) continue;
      ++out.needed;
      if (!kept(problem, rank, {source, token})) continue;
      out.source.push_back({source, token});
      for (size_t k = 0; k < problem.top_k; ++k) {
        out.ids.push_back(mine(k) ? local[size_t(routes.ids[first + k])] : -1);
        out.weights.push_back(mine(k) ? routes.weights[first + k] : 0.0f);
        if (mine(k)) ++out.expert_counts[size_t(out.ids.back())];
      }
    }
  }
  for (int64_t& count : out.expert_counts) count = (count + alignment - 1) / alignment * alignment;
  return out;
}

std::vector<std::vector<uint32_t>> owners_by_node(const Problem& problem, Source token) {
  std::vector<std::vector<uint32_t>> out(problem.node_sizes.size());
  const int32_t* ids = problem.routes[token.rank].ids.data() + token.token * problem.top_k;
  for (uint32_t k = 0; k < problem.top_k; ++k) {
    const int64_t owner = owner_of(problem, ids[k]);
    if (owner < 0) continue;
    auto& owners = out[node_of(problem, uint32_t(owner))];
    const auto place = std::lower_bound(owners.begin(), owners.end(), uint32_t(owner));
    if (place == owners.end() || *place != uint32_t(owner)) owners.insert(place, uint32_t(owner));
  }
  return out;
}

void sum(const Problem& problem, const SumInputs& inputs, const FindRow<uint16_t>& row, uint16_t* out) {
  const DefaultFloatMode mode;
  std::vector<float> total(size_t(inputs.columns), 0.0f);
  const uint16_t* const* bias = inputs.bias;
  if (bias[0] != nullptr)
    for (size_t i = 0; i < total.size(); ++i) total[i] = f32_from_bf16(bias[0][i]);
  if (bias[1] != nullptr)
    for (size_t i = 0; i < total.size(); ++i) total[i] = total[i] + f32_from_bf16(bias[1][i]);
  const auto rounded = [](float value) { return f32_from_bf16(bf16_from_f32(value)); };
  add_nodes<uint16_t>(problem, {inputs.token, row, inputs.wire_f32 ? f32_stored : +rounded}, total);
  for (size_t i = 0; i < total.size(); ++i) out[i] = bf16_from_f32(total[i]);
}

void sum_weights(const Problem& problem, Source token, const FindRow<float>& row, float* out) {
  const DefaultFloatMode mode;
  std::vector<float> total(problem.top_k, 0.0f);
  add_nodes<float>(problem, {token, row, f32_stored}, total);
  for (size_t i = 0; i < total.size(); ++i) out[i] = f32_stored(total[i]);
}

}  // namespace transload::reference
