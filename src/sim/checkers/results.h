// What the checkers of results are given: one rank's outputs of one call, and what the reference says.
#pragma once
#include <transload/combine.h>
#include <transload/dispatch.h>

#include <string>

#include "reference/reference.h"

namespace transload {

struct DispatchResult {
  const reference::Problem& problem;
  const reference::Received& want;
  const DispatchOutputs& out;
  uint64_t salt;  // the rows were made from this number
  size_t row_bytes;
  uint32_t scales;
  bool cached;
  int64_t rows_max;  // bound of the dispatch; 0: none
};

struct CombineResult {
  const reference::Problem& problem;
  const CombineOutputs& out;
  uint32_t rank;
  uint64_t salt;  // what experts return was made from this number; those of the biases follow it
  size_t row_bytes;
  bool wire_f32;
  bool weights;
  int biases;
};

inline std::string text_of(reference::Source s) {
  return "token " + std::to_string(s.token) + " of rank " + std::to_string(s.rank);
}

// Salt of a bias of a combine.
inline uint64_t bias_salt(uint64_t salt, int i) { return salt + 1000 + uint64_t(i); }

}  // namespace transload
