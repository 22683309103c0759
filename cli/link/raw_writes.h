// What a provider does without a link: writes of the same sizes, as many at once, that nobody counts or checks.
#pragma once
#include <memory>
#include <string>

#include "cli/link/ends.h"
#include "cli/link/rows.h"

namespace transload::cli {

class RawWrites {
 public:
  // Collective. Throws UsageError.
  RawWrites(LinkEnds& ends, const std::string& provider, LinkPlace place);
  ~RawWrites();
  RawWrites(const RawWrites&) = delete;
  RawWrites& operator=(const RawWrites&) = delete;

  // Collective: nanoseconds until all that is written both ways at once has come.
  uint64_t rows(uint64_t row_bytes, uint64_t rows);
  // Collective: nanoseconds in which a word goes there and back `rounds` times.
  uint64_t counts(uint32_t rounds);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace transload::cli
