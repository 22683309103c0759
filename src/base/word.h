// Shared words, and kNobody, which stands for no rank.
#pragma once
#include <cstddef>
#include <cstdint>

namespace transload {

using Word = uint64_t;

// Each word has a pair of cache lines of its own, so two writers never share what a cache or a link moves at once.
constexpr size_t kWordBytes = 128;

constexpr uint32_t kNobody = ~uint32_t(0);

}  // namespace transload
