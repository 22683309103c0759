// What is sent: routing and token vectors. Every rank can make every other rank's part again, from the options alone.
#pragma once
#include <cstdint>
#include <vector>

#include "cli/options.h"
#include "reference/reference.h"

namespace transload::cli {

// The kinds of rows that are made from the seed.
enum class RowKind : uint32_t { kTokens, kBias0, kBias1, kGradients };

class Workload {
 public:
  // Reads or makes the routing of every rank; completes options.top_k. Throws UsageError.
  explicit Workload(Options& options);

  // The same tokens with another routing: each token has the choices of the token `by` further, and each of those
  // experts is `by` further.
  Workload turned(uint64_t by) const;

  const reference::Problem& problem() const { return problem_; }
  uint64_t hidden() const { return hidden_; }

  // Rows that come to a rank, dropped ones too.
  int64_t needed(uint32_t rank) const { return needed_[rank]; }
  // Whether the rank's dispatch must fail because room is short.
  bool fails(uint32_t rank) const { return fail_ && needed_[rank] > rows_max_; }
  bool anyone_fails() const;

  // One row of `hidden` bf16 values: any sign and mantissa, magnitudes from 2^-8 to 2^8.
  void make_row(RowKind kind, reference::Source token, uint16_t* out) const;
  // All rows of a rank.
  std::vector<uint16_t> make_rows(RowKind kind, uint32_t rank) const;
  // A made-up gradient of the weight of a choice that is local to `owner`.
  float weight_gradient(uint32_t owner, reference::Source token, uint32_t choice) const;

 private:
  void limit();

  reference::Problem problem_;
  uint64_t hidden_;
  uint64_t seed_;
  int64_t rows_max_;
  bool fail_;  // a dispatch with more than rows_max rows fails; false: it drops the rest
  std::vector<int64_t> needed_;
};

// What expert `id` multiplies its tokens by: another number for each, so that a row at the wrong expert is seen.
float factor_of(uint32_t id);

// out = bf16(scale * row), element by element.
void scale_row(const uint16_t* row, float scale, uint64_t elements, uint16_t* out);

// How many rows cross between nodes, and how many rows each rank sends and receives.
struct RunTraffic {
  int64_t rows = 0;                     // rows that ranks receive, also from themselves; dropped ones are never counted
  int64_t scale_out_rows = 0;           // copies that cross between nodes, one for each (token, other node)
  int64_t scale_out_rows_by_rank = 0;   // copies that would cross with one for each (token, rank of another node)
  std::vector<int64_t> received, own;   // [ranks] rows received in dispatch; rows among them that are the rank's own
  std::vector<int64_t> returned;        // [ranks] rows that combine brings back
  std::vector<int64_t> sent;            // [ranks] copies of its own tokens that a rank sends in dispatch
  std::vector<int64_t> scale_out_sent;  // [ranks] those of `sent` that go to other nodes
};
RunTraffic traffic_of(const reference::Problem& problem);

}  // namespace transload::cli
