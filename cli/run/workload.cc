// Token vectors, made from the seed and a counter, and what the routing makes of them.
#include "cli/run/workload.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/float.h"
#include "base/mix.h"
#include "cli/run/routing.h"

namespace transload::cli {

Workload::Workload(Options& options)
    : problem_(make_problem(options)),
      hidden_(options.hidden),
      seed_(options.seed),
      rows_max_(options.rows_max),
      fail_(options.rows_max > 0 && options.overflow == Overflow::kFail) {
  limit();
}

void Workload::limit() {
  problem_.drop_from.clear();
  needed_ = traffic_of(problem_).received;
  if (rows_max_ > 0) reference::limit_rows(problem_, std::vector<int64_t>(problem_.routes.size(), rows_max_));
}

Workload Workload::turned(uint64_t by) const {
  Workload out = *this;
  const uint64_t experts = problem_.owner.size();
  for (reference::Routes& routes : out.problem_.routes) {
    if (routes.tokens == 0) continue;
    const auto first = std::ptrdiff_t(by % uint64_t(routes.tokens) * problem_.top_k);
    std::rotate(routes.ids.begin(), routes.ids.begin() + first, routes.ids.end());
    std::rotate(routes.weights.begin(), routes.weights.begin() + first, routes.weights.end());
    for (int32_t& id : routes.ids)
      if (id >= 0) id = int32_t((uint64_t(id) + by) % experts);
  }
  out.limit();
  return out;
}

bool Workload::anyone_fails() const {
  for (uint32_t rank = 0; rank < needed_.size(); ++rank)
    if (fails(rank)) return true;
  return false;
}

// Four values from each mixed counter: sign, 4 bits of exponent and mantissa are random, the exponent's base is added.
void Workload::make_row(RowKind kind, reference::Source token, uint16_t* out) const {
  const uint64_t base =
      split_mix(split_mix(split_mix(seed_) + uint64_t(kind)) + (uint64_t(token.rank) << 40) + uint64_t(token.token));
  for (uint64_t i = 0; i < hidden_; i += 4) {
    const uint64_t bits = (split_mix(base + i) & 0x87FF87FF87FF87FF) + 0x3B803B803B803B80;
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

std::vector<uint16_t> Workload::make_rows(RowKind kind, uint32_t rank) const {
  const int64_t tokens = problem_.routes[rank].tokens;
  std::vector<uint16_t> out(uint64_t(tokens) * hidden_);
  for (int64_t t = 0; t < tokens; ++t) make_row(kind, {rank, t}, out.data() + uint64_t(t) * hidden_);
  return out;
}

float Workload::weight_gradient(uint32_t owner, reference::Source token, uint32_t choice) const {
  const uint64_t place = (uint64_t(token.rank) << 40) + uint64_t(token.token) * 32 + choice;
  return unit_float(split_mix(split_mix(seed_ + 0x5EED) + split_mix(place) + owner)) - 0.5f;
}

// Factors have both signs and span 25 powers of two. A token's owners return multiples of one row, and only if these
// are far apart does the order of their sum show.
float factor_of(uint32_t id) {
  const float size = 0.5f + float(id * 2654435761u >> 16) * 0x1p-16f;
  return std::ldexp(id % 2 == 0 ? size : -size, int(id * 7 % 25) - 12);
}

void scale_row(const uint16_t* row, float scale, uint64_t elements, uint16_t* out) {
  for (uint64_t i = 0; i < elements; ++i) out[i] = bf16_from_f32(scale * f32_from_bf16(row[i]));
}

RunTraffic traffic_of(const reference::Problem& problem) {
  const uint32_t ranks = uint32_t(problem.routes.size());
  RunTraffic out;
  for (auto* list : {&out.received, &out.own, &out.returned, &out.sent, &out.scale_out_sent}) list->assign(ranks, 0);
  for (uint32_t r = 0; r < ranks; ++r) {
    const uint32_t my_node = reference::node_of(problem, r);
    for (int64_t t = 0; t < problem.routes[r].tokens; ++t) {
      const auto owners = reference::owners_by_node(problem, {r, t});
      for (uint32_t node = 0; node < owners.size(); ++node) {
        int64_t kept = 0;
        for (const uint32_t owner : owners[node]) {
          if (!reference::kept(problem, owner, {r, t})) continue;
          ++kept;
          ++out.received[owner];
          if (owner == r) ++out.own[r];
        }
        out.returned[r] += kept;
        if (node == my_node) {
          out.sent[r] += kept;
        } else if (!owners[node].empty()) {
          ++out.sent[r];
          ++out.scale_out_sent[r];
          out.scale_out_rows_by_rank += int64_t(owners[node].size());
        }
      }
    }
    out.rows += out.returned[r];
    out.scale_out_rows += out.scale_out_sent[r];
  }
  return out;
}

}  // namespace transload::cli
