// The enums that a caller chooses from, each with the words for its values: for errors, decisions, the program and
// scenarios.
#pragma once
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "transload/group.h"

namespace transload {

// `last` is the value of the last word: choices_count() does not compile if a word is missing or too many.
template <class Enum>
struct ChoiceWords;

template <>
struct ChoiceWords<Landing> {
  static constexpr const char* words[] = {"auto", "direct", "ring"};
  static constexpr Landing last = Landing::kRing;
};
template <>
struct ChoiceWords<Overflow> {
  static constexpr const char* words[] = {"fail", "drop"};
  static constexpr Overflow last = Overflow::kDrop;
};
template <>
struct ChoiceWords<Output> {
  static constexpr const char* words[] = {"x", "scales", "topk_idx", "topk_weights", "source"};
  static constexpr Output last = Output::kSource;
};
template <>
struct ChoiceWords<CombineSource> {
  static constexpr const char* words[] = {"auto", "pull", "push"};
  static constexpr CombineSource last = CombineSource::kPush;
};
template <>
struct ChoiceWords<CombineWire> {
  static constexpr const char* words[] = {"bf16", "fp32"};
  static constexpr CombineWire last = CombineWire::kF32;
};
template <>
struct ChoiceWords<ScaleOutChoice> {
  static constexpr const char* words[] = {"auto", "libfabric", "loopback", "nvshmem"};
  static constexpr ScaleOutChoice last = ScaleOutChoice::kNvshmem;
};

template <>
struct ChoiceWords<NetworkMemoryChoice> {
  static constexpr const char* words[] = {"auto", "gpu", "pinned"};
  static constexpr NetworkMemoryChoice last = NetworkMemoryChoice::kPinned;
};

template <class Enum>
constexpr size_t choices_count() {
  constexpr size_t count = std::size(ChoiceWords<Enum>::words);
  static_assert(size_t(ChoiceWords<Enum>::last) + 1 == count);
  return count;
}

template <class Enum>
constexpr const char* word_of(Enum value) {
  return size_t(value) < choices_count<Enum>() ? ChoiceWords<Enum>::words[size_t(value)] : "?";
}

template <class Enum>
std::optional<Enum> choice_of(std::string_view word) {
  for (size_t i = 0; i < choices_count<Enum>(); ++i)
    if (word == ChoiceWords<Enum>::words[i]) return Enum(i);
  return std::nullopt;
}

// "auto, direct or ring".
template <class Enum>
std::string all_choices() {
  std::string all;
  for (size_t i = 0; i < choices_count<Enum>(); ++i)
    all += std::string(i == 0 ? "" : i + 1 < choices_count<Enum>() ? ", " : " or ") + ChoiceWords<Enum>::words[i];
  return all;
}

}  // namespace transload
