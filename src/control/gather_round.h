// A round of a gather, as a member hears it: in frames, each with what some of the ranks have said.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/frame.h"

namespace transload {

class GatherRound {
 public:
  explicit GatherRound(uint32_t ranks) : ranks_(ranks) {}

  uint32_t number() const { return number_; }
  // The rendezvous's address as ranks of other hosts see it; "": not known yet.
  const std::string& reach() const { return reach_; }

  void begin() {
    parts_.assign(ranks_, std::nullopt);
    count_ = 0;
  }
  bool whole() const { return count_ == parts_.size(); }

  // Takes a frame; that of a round that was given up is passed over. False if no rendezvous of this many ranks sends
  // it.
  bool take(Gathered gathered) {
    if (gathered.parts.size() > ranks_ || gathered.first > ranks_ - gathered.parts.size()) return false;
    if (gathered.round != number_ || parts_.empty()) return true;
    for (size_t i = 0; i < gathered.parts.size(); ++i)
      if (parts_[gathered.first + i].has_value()) return false;
    for (size_t i = 0; i < gathered.parts.size(); ++i) parts_[gathered.first + i] = std::move(gathered.parts[i]);
    count_ += uint32_t(gathered.parts.size());
    if (!gathered.reach.empty()) reach_ = std::move(gathered.reach);
    return true;
  }

  // Ends a round that is whole, and returns what each rank said, by rank.
  std::vector<std::string> end() {
    ++number_;
    std::vector<std::string> all;
    all.reserve(parts_.size());
    for (std::optional<std::string>& part : parts_) all.push_back(std::move(*part));
    parts_.clear();
    return all;
  }

 private:
  uint32_t ranks_;
  uint32_t number_ = 0;
  std::vector<std::optional<std::string>> parts_;  // parts of the round under way; no values between two rounds
  uint32_t count_ = 0;
  std::string reach_;
};

}  // namespace transload
