// Routings: file, uniform, zipf, one rank, none.
#include "cli/run/routing.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/mix.h"
#include "cli/run/safetensors.h"
#include "cli/show/usage.h"
#include "cli/text.h"
#include "transload/limits.h"

namespace transload::cli {
namespace {

// Different experts of one token, drawn by weight; a draw that repeats moves on to the next free expert.
class Picker {
 public:
  Picker(std::vector<uint32_t> experts, double zipf_exponent) : experts_(std::move(experts)) {
    double sum = 0;
    for (size_t i = 0; i < experts_.size(); ++i) below_.push_back(sum += std::pow(double(i + 1), -zipf_exponent));
    taken_.assign(experts_.size(), 0);
  }

  void pick(uint64_t base, uint32_t top_k, int32_t* ids) {
    ++token_;
    for (uint32_t k = 0; k < top_k; ++k) {
      ids[k] = -1;
      if (k >= experts_.size()) continue;
      size_t place = draw(base + k * 64);
      for (uint64_t retry = 1; taken_[place] == token_ && retry < 32; ++retry) place = draw(base + k * 64 + retry);
      while (taken_[place] == token_) place = (place + 1) % experts_.size();
      taken_[place] = token_;
      ids[k] = int32_t(experts_[place]);
    }
  }

 private:
  size_t draw(uint64_t counter) const {
    const double point = double(split_mix(counter) >> 11) * 0x1p-53 * below_.back();
    return std::min<size_t>(size_t(std::upper_bound(below_.begin(), below_.end(), point) - below_.begin()),
                            below_.size() - 1);
  }
  std::vector<uint32_t> experts_;
  std::vector<double> below_;
  std::vector<uint64_t> taken_;  // [experts] number of the token that took the expert last
  uint64_t token_ = 0;
};

void make_weights(uint64_t base, uint32_t top_k, const int32_t* ids, float* weights) {
  float sum = 0;
  for (uint32_t k = 0; k < top_k; ++k) sum += weights[k] = ids[k] < 0 ? 0.0f : unit_float(split_mix(base + k));
  for (uint32_t k = 0; k < top_k; ++k)
    if (ids[k] >= 0) weights[k] /= sum;
}

void make_routes(const Options& options, reference::Problem& problem) {
  std::vector<uint32_t> experts;
  for (uint32_t e = 0; e < options.group.experts; ++e)
    if (options.routing_kind == RoutingKind::kUniform || options.routing_kind == RoutingKind::kZipf ||
        (options.routing_kind == RoutingKind::kOneRank && problem.owner[e] == problem.owner[0]))
      experts.push_back(e);
  Picker picker(std::move(experts), options.zipf_exponent);
  for (uint32_t r = 0; r < options.ranks(); ++r) {
    reference::Routes& routes = problem.routes[r];
    routes.tokens = options.tokens[r];
    routes.ids.resize(size_t(routes.tokens) * options.top_k);
    routes.weights.resize(routes.ids.size());
    for (int64_t t = 0; t < routes.tokens; ++t) {
      const uint64_t base = split_mix(split_mix(options.seed ^ 0x0A7E) + (uint64_t(r) << 40) + uint64_t(t));
      int32_t* ids = routes.ids.data() + t * options.top_k;
      picker.pick(base, options.top_k, ids);
      make_weights(base + 4096, options.top_k, ids, routes.weights.data() + t * options.top_k);
    }
  }
}

// Cuts ids and weights of all tokens, in order, among the ranks.
void read_routes(Options& options, reference::Problem& problem) {
  if (access(options.routing.c_str(), F_OK) != 0 && errno == ENOENT)
    refuse(
        "--routing: '{}': no such file: must be a safetensors file, uniform, zipf:S (S from 0 to 10), one-rank or none",
        options.routing);
  const SafetensorsReader file(options.routing);
  const std::string prefix = options.layer < 0 ? "" : text::format("layer{}.", options.layer);
  const auto& ids = file.matrix(prefix + "topk_idx", {"I16", "I32", "I64"});
  const auto& weights = file.matrix(prefix + "topk_weights", {"F16", "BF16", "F32"});
  if (ids.shape != weights.shape)
    refuse("--routing: '{}': {} is {} x {} but {} is {} x {}: must be equal", options.routing, ids.name, ids.shape[0],
           ids.shape[1], weights.name, weights.shape[0], weights.shape[1]);
  const uint64_t columns = ids.shape[1], most = limits().top_k_max;
  if (columns < 1 || columns > most)
    refuse("--routing: '{}': {} choices of a token: must be 1 to {}", options.routing, columns, most);
  if (options.top_k_given && options.top_k != columns)
    refuse("--top-k: {}: must be {}, as many choices as a token has in the routing file", options.top_k, columns);
  options.top_k = uint32_t(columns);
  const uint64_t tokens = uint64_t(std::accumulate(options.tokens.begin(), options.tokens.end(), int64_t(0)));
  if (tokens > ids.shape[0])
    refuse("--tokens: {} in all: must be at most {}, as many as the routing file has rows", tokens, ids.shape[0]);
  const auto all_ids = file.integers(ids, tokens * columns);
  const auto all_weights = file.floats(weights, tokens * columns);
  for (size_t i = 0; i < all_ids.size(); ++i)
    if (all_ids[i] < -1 || all_ids[i] >= int64_t(options.group.experts))
      refuse("--routing: '{}': expert {} in row {} of {}: must be -1 to {} (--experts {})", options.routing, all_ids[i],
             i / columns, ids.name, options.group.experts - 1, options.group.experts);
  size_t next = 0;
  for (uint32_t r = 0; r < options.ranks(); ++r) {
    const size_t end = next + size_t(options.tokens[r]) * columns;
    problem.routes[r].tokens = options.tokens[r];
    problem.routes[r].ids.assign(all_ids.begin() + int64_t(next), all_ids.begin() + int64_t(end));
    problem.routes[r].weights.assign(all_weights.begin() + int64_t(next), all_weights.begin() + int64_t(end));
    next = end;
  }
}

}  // namespace

reference::Problem make_problem(Options& options) {
  reference::Problem problem;
  problem.node_sizes = options.node_sizes();
  const uint32_t ranks = options.ranks(), least = options.group.experts / ranks, more = options.group.experts % ranks;
  for (uint32_t r = 0; r < ranks; ++r) problem.owner.insert(problem.owner.end(), least + (r < more ? 1 : 0), r);
  problem.routes.resize(ranks);
  if (options.routing_kind == RoutingKind::kFile)
    read_routes(options, problem);
  else
    make_routes(options, problem);
  problem.top_k = options.top_k;
  return problem;
}

}  // namespace transload::cli
