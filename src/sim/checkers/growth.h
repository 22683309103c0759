// GROWTH: shared words only grow. They are judged here as they land; Flights::fell judges what roles take them to be.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/word.h"

namespace transload {

class GrowthChecker {
 public:
  // A count has landed whole.
  std::string landed(uint64_t offset, Word value) {
    Word& last = last_[offset];
    if (value < last) return "a word falls from " + std::to_string(last) + " to " + std::to_string(value);
    last = value;
    return "";
  }
  void clear() { last_.clear(); }

 private:
  std::unordered_map<uint64_t, Word> last_;
};

}  // namespace transload
