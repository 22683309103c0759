// What one rank has to say at the end, as text that travels over a pipe or the control channel.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transload/group.h"

namespace transload::cli {

// The calls of one iteration, in order.
enum IterationCall : uint32_t {
  kFirstDispatch,
  kCombine,
  kCachedDispatch,
  kCachedCombine,
  kBackwardDispatch,
  kBackwardCombine,
  kCalls
};
const char* name_of(IterationCall call);

constexpr const char* kRecovered = "verified";

// The first wrong value that a rank saw.
struct WrongValue {
  std::string output;      // "dispatch.x", "combine.x", ...
  uint64_t iteration = 0;  // counted from 1, warm-up included
  uint32_t call = 0;       // index of the call in the iteration
  uint32_t rank = 0;
  int64_t row = 0;
  int64_t byte = 0;  // offset of the wrong byte in the row
  std::string expected, seen;

  bool before(const WrongValue& other) const;
  std::string to_string() const;
};

struct WorkerResult {
  uint32_t rank = 0;
  std::array<std::vector<double>, kCalls> call_us;  // microseconds of each timed iteration
  int64_t dispatch_scale_out_rows = 0;              // rows of one call
  int64_t combine_scale_out_rows = 0;
  uint64_t ring_bytes = 0, counter_bytes = 0, output_bytes = 0;
  std::string ring_formula;
  std::string scale_up, scale_out, landing, source;
  std::vector<Decision> decisions;
  std::string dispatch_digest, combine_digest;  // digests of the last iteration's outputs
  std::optional<WrongValue> mismatch;
  std::optional<Fault> fault;
  uint64_t fault_ns = 0;  // when the rank was told, on the host's clock
  uint64_t entry_ns = 0;  // when the rank had entered the call that the fault ended, on the host's clock
  std::string error;      // bad input or no room, found by this rank alone; "": neither
  std::string recovery;   // kRecovered, or why recovery failed; "": not asked for, or this rank takes no part

  std::string to_text() const;
  // Throws UsageError.
  static WorkerResult from_text(const std::string& text);
};

}  // namespace transload::cli
