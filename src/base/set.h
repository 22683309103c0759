// Sets of lanes. A Set holds the routes of one token (at most 32); Members holds ranks of a node, nodes, or streams.
#pragma once
#include <bit>
#include <cstdint>

#include "base/macros.h"

namespace transload {

// A member of a Set or of Members. Only verbs hand lanes out; a Per or a Table is indexed by nothing else.
struct Lane {
  int i;
  TRANSLOAD_HD constexpr operator int() const { return i; }
};

constexpr int kSetMax = 32;        // bounds the routes of a token: top-k is at most 32
constexpr int kMembersMax = 4096;  // bounds the ranks of a node, the nodes, and the streams of one warp

struct Set {
  uint32_t bits = 0;

  TRANSLOAD_HD constexpr bool empty() const { return bits == 0; }
  TRANSLOAD_HD constexpr bool has(int i) const { return bits >> i & 1; }
  TRANSLOAD_HD constexpr int count() const { return std::popcount(bits); }
  TRANSLOAD_HD constexpr Set operator&(Set o) const { return {bits & o.bits}; }
  TRANSLOAD_HD constexpr Set operator|(Set o) const { return {bits | o.bits}; }
  TRANSLOAD_HD constexpr Set operator-(Set o) const { return {bits & ~o.bits}; }
  TRANSLOAD_HD constexpr bool operator==(Set o) const { return bits == o.bits; }
  TRANSLOAD_HD static constexpr Set first(int n) { return {uint32_t((uint64_t(1) << n) - 1)}; }
  TRANSLOAD_HD static constexpr Set only(int i) { return {uint32_t(1) << i}; }
};

// A set of up to kMembersMax members, in words of 64. `span` bounds the words that may be non-zero.
struct Members {
  uint64_t words[kMembersMax / 64] = {};
  int span = 0;  // one past the highest member that may be present

  TRANSLOAD_HD constexpr int word_count() const { return (span + 63) / 64; }
  TRANSLOAD_HD constexpr bool has(int i) const { return i < span && (words[i / 64] >> (i % 64) & 1); }
  TRANSLOAD_HD constexpr bool empty() const {
    for (int w = 0; w < word_count(); ++w)
      if (words[w] != 0) return false;
    return true;
  }
  TRANSLOAD_HD constexpr int count() const {
    int n = 0;
    for (int w = 0; w < word_count(); ++w) n += std::popcount(words[w]);
    return n;
  }
  TRANSLOAD_HD constexpr void add(int i) {
    words[i / 64] |= uint64_t(1) << (i % 64);
    if (i >= span) span = i + 1;
  }
  TRANSLOAD_HD constexpr void remove(int i) { words[i / 64] &= ~(uint64_t(1) << (i % 64)); }
  TRANSLOAD_HD static constexpr Members first(int n) {
    Members m;
    m.span = n;
    for (int w = 0; w < m.word_count(); ++w)
      m.words[w] = n - w * 64 >= 64 ? ~uint64_t(0) : (uint64_t(1) << (n - w * 64)) - 1;
    return m;
  }
  TRANSLOAD_HD static constexpr Members only(int i) {
    Members m;
    m.add(i);
    return m;
  }
};

}  // namespace transload
