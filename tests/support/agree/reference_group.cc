// Ranks that exchange inputs over a board and take their outputs from the reference.
#include "tests/support/agree/reference_group.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "reference/reference.h"

namespace transload::test {
namespace {

using Place = std::pair<uint32_t, int64_t>;  // source rank and token

Place place_of(reference::Source s) { return {s.rank, s.token}; }

int32_t id_at(const Tensor& ids, size_t i) {
  return same_type(ids.dtype, kI64) ? int32_t(ids.as<int64_t>()[i]) : ids.as<int32_t>()[i];
}

}  // namespace

// A rank writes the entries with its number, and all ranks read them after the next meeting.
struct ReferenceGroup::Board {
  explicit Board(uint32_t ranks) : meeting(ranks), sent(ranks), returned(ranks), row_of(ranks) {}
  std::barrier<> meeting;
  reference::Problem problem;  // without routes
  std::vector<DispatchInputs> sent;
  std::vector<CombineInputs> returned;
  std::vector<std::map<Place, size_t>> row_of;  // by rank: the row of each token that it received
};

class ReferenceGroup::Rank final : public Caller {
 public:
  Rank(Board& board, uint32_t rank) : board_(board), me_(rank) {}
  uint32_t rank() const override { return me_; }

  DispatchOutputs dispatch(const DispatchInputs& in) override {
    board_.sent[me_] = in;
    board_.meeting.arrive_and_wait();
    const bool cached = !in.topk_idx.given();
    if (!cached) learn(in.expert_alignment);
    DispatchOutputs out = received(in);
    if (!cached) add_columns(out);
    board_.meeting.arrive_and_wait();
    if (!cached && in.overflow == Overflow::kFail && out.rows < out.rows_needed)
      throw Error(Code::kTooManyRows, "rows_max: the reference has more rows");
    return out;
  }

  CombineOutputs combine(const CombineInputs& in) override {
    board_.returned[me_] = in;
    board_.meeting.arrive_and_wait();
    CombineOutputs out;
    const int64_t tokens = problem_.routes[me_].tokens, columns = in.x.columns(), k = problem_.top_k;
    sums_.resize(size_t(tokens * columns));
    weights_.resize(size_t(tokens * k));
    for (int64_t t = 0; t < tokens; ++t) sum(in, t);
    out.x = matrix(sums_.data(), tokens, columns, kBf16);
    if (in.topk_weights.given()) out.topk_weights = matrix(weights_.data(), tokens, k, kF32);
    out.scale_out_rows = crossing();
    board_.meeting.arrive_and_wait();
    return out;
  }

  ExpertRoom room(size_t bytes, bool) override {
    ExpertRoom out;
    out.own = Private(bytes);
    out.at = out.own.data();
    return out;
  }

 private:
  // Learns the routing that all ranks have given.
  void learn(uint32_t alignment) {
    problem_ = board_.problem;
    std::vector<int64_t> rows_max;
    for (const DispatchInputs& sent : board_.sent) {
      reference::Routes routes;
      routes.tokens = sent.topk_idx.rows();
      for (size_t i = 0; i < size_t(routes.tokens) * problem_.top_k; ++i) {
        routes.ids.push_back(id_at(sent.topk_idx, i));
        routes.weights.push_back(sent.topk_weights.as<float>()[i]);
      }
      problem_.routes.push_back(std::move(routes));
      rows_max.push_back(sent.rows_max);
    }
    rows_max_ = rows_max[me_];
    reference::limit_rows(problem_, rows_max);
    received_ = reference::received_by(problem_, me_, alignment);
    std::map<Place, size_t>& row_of = board_.row_of[me_];
    row_of.clear();
    for (size_t i = 0; i < received_.source.size(); ++i) row_of[place_of(received_.source[i])] = i;
  }

  DispatchOutputs received(const DispatchInputs& in) {
    DispatchOutputs out;
    out.rows = int64_t(received_.source.size());
    out.rows_needed = received_.needed;
    out.scale_out_rows = crossing();
    if (out.rows < out.rows_needed) out.status = {Code::kTooManyRows, "the reference drops rows"};
    const int64_t held = rows_max_ > 0 ? rows_max_ : out.rows;
    const size_t bytes = in.x.row_bytes(), scales = in.scales.given() ? size_t(in.scales.columns()) : 0;
    x_.resize(size_t(held) * bytes);
    scales_.resize(size_t(held) * scales);
    for (size_t i = 0; i < received_.source.size(); ++i) {
      const reference::Source s = received_.source[i];
      const DispatchInputs& sent = board_.sent[s.rank];
      std::memcpy(x_.data() + i * bytes, sent.x.as<char>() + size_t(s.token) * bytes, bytes);
      for (size_t c = 0; c < scales; ++c)
        scales_[i * scales + c] =
            sent.scales.as<uint32_t>()[s.token * sent.scales.strides[0] + int64_t(c) * sent.scales.strides[1]];
    }
    out.x = matrix(x_.data(), held, in.x.columns(), in.x.dtype);
    if (scales > 0) out.scales = matrix(scales_.data(), held, int64_t(scales), in.scales.dtype);
    return out;
  }

  void add_columns(DispatchOutputs& out) {
    const int64_t held = out.x.rows(), k = problem_.top_k;
    received_.ids.resize(size_t(held * k));
    received_.weights.resize(size_t(held * k));
    source_.assign(size_t(held * 2), 0);
    for (size_t i = 0; i < received_.source.size(); ++i) {
      source_[i * 2] = int32_t(received_.source[i].rank);
      source_[i * 2 + 1] = int32_t(received_.source[i].token);
    }
    out.topk_idx = matrix(received_.ids.data(), held, k, kI32);
    out.topk_weights = matrix(received_.weights.data(), held, k, kF32);
    out.source = matrix(source_.data(), held, 2, kI32);
    out.expert_counts = received_.expert_counts;
  }

  void sum(const CombineInputs& in, int64_t t) {
    const reference::Source token{me_, t};
    const int64_t columns = in.x.columns(), k = problem_.top_k;
    const auto row_at = [&](uint32_t owner, reference::Source s) { return board_.row_of[owner].at(place_of(s)); };
    reference::SumInputs inputs{token, columns, in.wire == CombineWire::kF32, {nullptr, nullptr}};
    for (int b = 0; b < 2; ++b)
      if (in.bias[b].given()) inputs.bias[b] = in.bias[b].as<uint16_t>() + t * columns;
    const auto row = [&](uint32_t owner, reference::Source s) {
      return board_.returned[owner].x.as<uint16_t>() + row_at(owner, s) * size_t(columns);
    };
    reference::sum(problem_, inputs, row, sums_.data() + t * columns);
    if (!in.topk_weights.given()) return;
    const auto weights = [&](uint32_t owner, reference::Source s) {
      return board_.returned[owner].topk_weights.as<float>() + row_at(owner, s) * size_t(k);
    };
    reference::sum_weights(problem_, token, weights, weights_.data() + t * k);
  }

  // Copies of my tokens to other nodes.
  int64_t crossing() const {
    int64_t copies = 0;
    for (int64_t t = 0; t < problem_.routes[me_].tokens; ++t) {
      const auto owners = reference::owners_by_node(problem_, {me_, t});
      for (uint32_t node = 0; node < owners.size(); ++node)
        copies += node != reference::node_of(problem_, me_) && !owners[node].empty();
    }
    return copies;
  }

  Board& board_;
  const uint32_t me_;
  reference::Problem problem_;
  reference::Received received_;
  int64_t rows_max_ = 0;
  std::vector<char> x_;
  std::vector<uint32_t> scales_;
  std::vector<int32_t> source_;
  std::vector<uint16_t> sums_;
  std::vector<float> weights_;
};

ReferenceGroup::ReferenceGroup(const Scenario& s) : board_(std::make_unique<Board>(s.ranks)) {
  reference::Problem& p = board_->problem;
  p.node_sizes = s.node_sizes;
  p.top_k = s.top_k;
  p.owner = s.expert_owner;
  for (uint32_t rank = 0; p.owner.size() < s.experts; ++rank)
    p.owner.insert(p.owner.end(), s.experts / s.ranks + (rank < s.experts % s.ranks), rank);
}

ReferenceGroup::~ReferenceGroup() = default;

std::unique_ptr<Caller> ReferenceGroup::caller(uint32_t rank) { return std::make_unique<Rank>(*board_, rank); }

}  // namespace transload::test
