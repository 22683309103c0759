// What dispatch and combine must give, in plain lines: the oracle of every test. It shares nothing but
// base/ with the code that moves tokens, stores no rows, and makes no attempt to be fast.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace transload::reference {

struct Routes {
  int64_t tokens = 0;
  std::vector<int32_t> ids;    // [tokens, top_k] global expert ids; anything out of range counts as -1
  std::vector<float> weights;  // [tokens, top_k]
};

struct Source {
  uint32_t rank;
  int64_t token;
};

struct Problem {
  std::vector<uint32_t> node_sizes;
  std::vector<uint32_t> owner;  // [experts] the rank that has the expert
  uint32_t top_k = 1;
  std::vector<Routes> routes;     // [ranks]
  std::vector<Source> drop_from;  // [ranks] the first token whose row the rank drops, as limit_rows() sets it; rows of
                                  // later tokens are dropped too. Empty: no rank drops a row
};

// Each rank keeps only its first rows_max[rank] rows; 0: all. If `rows_max` is empty, all ranks keep all rows.
void limit_rows(Problem& problem, const std::vector<int64_t>& rows_max);
// Whether the row of a token at an owner of it is kept.
bool kept(const Problem& problem, uint32_t owner, Source token);

// What one rank receives, ordered by (source rank, source token). M is the number of rows that it keeps.
struct Received {
  int64_t needed = 0;                  // rows that come, counting those that are dropped
  std::vector<Source> source;          // [M]
  std::vector<int32_t> ids;            // [M, top_k] local expert ids; -1 for choices of other ranks' experts
  std::vector<float> weights;          // [M, top_k]; 0 for choices of other ranks' experts
  std::vector<int64_t> expert_counts;  // [local experts] (token, choice) pairs, rounded up to the alignment
};
Received received_by(const Problem& problem, uint32_t rank, uint32_t alignment = 1);

uint32_t node_of(const Problem& problem, uint32_t rank);

// The ranks that own a choice of this token, ascending, for each node.
std::vector<std::vector<uint32_t>> owners_by_node(const Problem& problem, Source token);

// Gives the row that `owner` has for a token; it is read before the next row is asked for.
template <class Value>
using FindRow = std::function<const Value*(uint32_t owner, Source token)>;

struct SumInputs {
  Source token;  // at its origin
  int64_t columns = 0;
  bool wire_f32 = false;                         // partial sums of other nodes are not rounded to bf16
  const uint16_t* bias[2] = {nullptr, nullptr};  // [columns] this token's rows of the biases, bf16; null: none
};

// The combined row of one token, to the bit.
void sum(const Problem& problem, const SumInputs& inputs, const FindRow<uint16_t>& row, uint16_t* out);

// The combined weights of one token, added in the order of sum(), all in fp32.
void sum_weights(const Problem& problem, Source token, const FindRow<float>& row, float* out);

}  // namespace transload::reference
