// What dispatch and combine must give, in plain lines: the oracle of every test. It shares nothing with the code that
// moves tokens, stores no rows, and makes no attempt to be fast.
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
  std::vector<uint32_t> owner;  // [experts] rank of each
  uint32_t top_k = 1;
  std::vector<Routes> routes;     // [ranks]
  std::vector<Source> drop_from;  // [ranks] rows of this token and of later ones are dropped there; empty: none. See
                                  // limit_rows
};

// Each rank keeps so many rows, the first ones; 0: all. [ranks], or empty: all of all.
void limit_rows(Problem& problem, const std::vector<int64_t>& rows_max);
// Whether the row of a token at an owner of it is kept.
bool kept(const Problem& problem, uint32_t owner, Source token);

// What one rank receives, by (source rank, source token).
struct Received {
  int64_t needed = 0;                  // rows, with those that are dropped
  std::vector<Source> source;          // [M]
  std::vector<int32_t> ids;            // [M, top_k] local expert ids, -1 elsewhere
  std::vector<float> weights;          // [M, top_k], 0 elsewhere
  std::vector<int64_t> expert_counts;  // [local experts] (token, choice) pairs, rounded up to the alignment
};
Received received_by(const Problem& problem, uint32_t rank, uint32_t alignment = 1);

uint32_t node_of(const Problem& problem, uint32_t rank);

// The ranks that own a choice of this token, ascending, for each node.
std::vector<std::vector<uint32_t>> owners_by_node(const Problem& problem, Source token);

// The row that `owner` returns for a token; read before the next call.
template <class Value>
using FindRow = std::function<const Value*(uint32_t owner, Source token)>;

struct SumInputs {
  Source token;  // at its origin
  int64_t columns = 0;
  bool wire_f32 = false;                         // partial sums of other nodes are not rounded to bf16
  const uint16_t* bias[2] = {nullptr, nullptr};  // of this token
};

// The combined row of one token, to the bit.
void sum(const Problem& problem, const SumInputs& inputs, const FindRow<uint16_t>& row, uint16_t* out);

// The combined weights of one token: the same order, all in fp32.
void sum_weights(const Problem& problem, Source token, const FindRow<float>& row, float* out);

}  // namespace transload::reference
