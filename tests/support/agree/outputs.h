// Digests of every output of every rank of a program, to compare two ways of making its calls.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "sim/world/program.h"

namespace transload::test {

class Outputs final : public Audience {
 public:
  explicit Outputs(uint32_t ranks) : of_(ranks) {}
  void dispatched(uint32_t rank, uint32_t call, const DispatchOutputs& out) override;
  void combined(uint32_t rank, uint32_t call, const CombineOutputs& out) override;

  size_t count() const;
  // Names the first output, by rank and call, that has another digest, or else the first that is missing; "": none.
  std::string difference(const Outputs& wanted) const;

 private:
  struct Output {
    uint32_t call;
    const char* name;
    uint64_t digest;
    bool operator==(const Output&) const = default;
  };
  void add(uint32_t rank, Output output) { of_[rank].push_back(output); }
  static std::string text_of(const std::vector<Output>& all, size_t i);

  std::vector<std::vector<Output>> of_;  // by rank; each rank's thread writes its own
};

}  // namespace transload::test
