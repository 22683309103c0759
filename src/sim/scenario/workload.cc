// Making tokens, routing and rows from a seed.
#include "sim/scenario/workload.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/mix.h"

namespace transload {
namespace {

// 16 random bits as a bf16: sign, mantissa, and an exponent of 100 to 155.
uint16_t value_of(uint64_t bits) {
  const uint32_t exponent = 100 + ((bits >> 8 & 0xFF) * 56 >> 8);
  return uint16_t((bits & 0x80) << 8 | exponent << 7 | (bits & 0x7F));
}

}  // namespace

void make_row(uint64_t salt, reference::Source token, size_t bytes, void* out) {
  const uint64_t base = mixed(salt, token.rank, uint64_t(token.token));
  char* const to = static_cast<char*>(out);
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t h = murmur_mix(base + at);
    uint16_t four[4];
    for (int i = 0; i < 4; ++i) four[i] = value_of(h >> 16 * i);
    std::memcpy(to + at, four, sizeof four);
  }
}

uint32_t make_scale(uint64_t salt, uint32_t rank, int64_t token, uint32_t i) {
  return uint32_t(mixed(salt + 1, rank, uint64_t(token), i));
}

float make_weight(uint64_t salt, uint32_t owner, reference::Source token, uint32_t k) {
  return float(int64_t(mixed(salt + 2 + owner, token.rank, uint64_t(token.token), k) % 2001) - 1000) / 64.0f;
}

uint64_t group_seed(uint64_t seed, uint32_t number, uint32_t generation) { return mixed(seed, number, generation, 17); }

Routings::Routings(const Scenario& scenario, std::vector<uint32_t> node_sizes, uint64_t seed)
    : scenario_(scenario), node_sizes_(std::move(node_sizes)), seed_(seed) {
  ranks_ = std::accumulate(node_sizes_.begin(), node_sizes_.end(), 0u);
  owner_ = scenario.expert_owner;
  for (uint32_t& rank : owner_) rank %= ranks_;  // a group of survivors has fewer ranks than the list was made for
  for (uint32_t r = 0; owner_.size() < scenario.experts; ++r)
    for (uint32_t i = 0; i < scenario.experts / ranks_ + (r < scenario.experts % ranks_); ++i) owner_.push_back(r);
}

int32_t Routings::choose(const Of& of, uint32_t k, const int32_t* before) const {
  const uint64_t h = mixed(of.salt, of.rank, of.token, k);
  const uint32_t experts = scenario_.experts;
  switch (scenario_.routing) {
    case ScenarioRouting::kAllToOne: {
      const uint32_t first = uint32_t(std::count(owner_.begin(), owner_.end(), 0u));
      return first == 0 ? 0 : int32_t(h % first);
    }
    case ScenarioRouting::kSparse:
      return h % 5 != 0 ? -1 : int32_t(h / 5 % experts);
    case ScenarioRouting::kDuplicates:
      return k > 0 && h % 2 == 0 ? before[h / 2 % k] : int32_t(h / 64 % experts);
    case ScenarioRouting::kSkewed:
      return int32_t(h % 4 != 0 ? h / 4 % ((experts + 3) / 4) : h / 4 % experts);
    case ScenarioRouting::kNone:
      return -1;
    case ScenarioRouting::kUniform:
      break;
  }
  if (h % 11 == 0) return -1;
  // The experts of a token differ while there are enough of them.
  for (uint64_t turn = 0; turn < experts; ++turn) {
    const int32_t id = int32_t((h / 11 + turn) % experts);
    if (std::find(before, before + k, id) == before + k) return id;
  }
  return int32_t(h / 11 % experts);
}

// Draws rows_max for each rank: none, or what is needed, one less, some more, one row, or any.
std::vector<int64_t> Routings::rows_max_of(const ScenarioCall& call, const reference::Problem& p, uint64_t salt) const {
  if (call.rows_max && call.rows_max->empty()) return {};
  const uint64_t most = uint64_t(scenario_.tokens_max) * ranks_;
  std::vector<int64_t> out;
  for (uint32_t r = 0; call.rows_max && r < ranks_; ++r)
    out.push_back(int64_t(std::min<uint64_t>((*call.rows_max)[r], most)));
  if (call.rows_max) return out;
  for (uint32_t r = 0; r < ranks_; ++r) {
    const uint64_t needed = reference::received_by(p, r).source.size(), h = mixed(salt, r);
    const uint64_t choices[] = {0, needed, needed - (needed > 0), needed + 3, 1, h / 8 % (needed + 1)};
    const uint64_t chosen = choices[h % 6];
    out.push_back(int64_t(h % 6 == 0 ? 0 : std::max<uint64_t>(1, std::min(chosen, most))));
  }
  return out;
}

const Routings::OneDispatch& Routings::of(uint32_t number, const ScenarioCall& call) {
  std::unique_ptr<OneDispatch>& made = made_[number];
  if (made) return *made;
  made = std::make_unique<OneDispatch>();
  reference::Problem& p = made->problem;
  p.node_sizes = node_sizes_;
  p.owner = owner_;
  p.top_k = scenario_.top_k;
  const uint64_t salt = mixed(seed_, 77, number);
  for (uint32_t r = 0; r < ranks_; ++r) {
    reference::Routes routes;
    routes.tokens = call.tokens[r];
    for (uint32_t t = 0; t < call.tokens[r]; ++t)
      for (uint32_t k = 0; k < p.top_k; ++k) {
        const int32_t id = choose({salt, r, t}, k, routes.ids.data() + size_t(t) * p.top_k);
        routes.ids.push_back(id);
        routes.weights.push_back(float(mixed(salt, r, t, 1000 + k) >> 40) / float(1 << 24));
      }
    p.routes.push_back(std::move(routes));
  }
  made->rows_max = rows_max_of(call, p, mixed(salt, 41));
  reference::limit_rows(p, made->rows_max);
  made->received.resize(ranks_);
  return *made;
}

const reference::Received& Routings::received(uint32_t number, const ScenarioCall& call, uint32_t rank) {
  const OneDispatch& d = of(number, call);
  std::unique_ptr<reference::Received>& mine = made_[number]->received[rank];
  if (!mine)
    mine = std::make_unique<reference::Received>(reference::received_by(d.problem, rank, call.expert_alignment));
  return *mine;
}

}  // namespace transload
