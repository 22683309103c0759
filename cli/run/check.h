// Every output of every kind against the oracle, bit for bit. Rows are made again one by one; nothing big is kept.
#pragma once
#include <optional>

#include "cli/run/result.h"
#include "cli/run/status_page.h"
#include "cli/run/workload.h"
#include "transload/group.h"

namespace transload::cli {

class ResultChecker {
 public:
  ResultChecker(const Options& options, const Workload& workload, uint32_t rank, StatusPage& page);

  // What this rank must receive.
  const reference::Received& expected() const { return received_; }

  // From now on outputs are those of this workload.
  void judge_by(const Workload& workload);

  // Names the call whose outputs are checked next.
  void at(uint64_t iteration, IterationCall call) {
    iteration_ = iteration;
    call_ = call;
  }
  void dispatch(const DispatchOutputs& outputs);
  // Compares whether the dispatch threw because room was short.
  void failed_for_room(bool seen) { same_number("dispatch.fails_for_room", workload_->fails(rank_), seen); }
  void cached_dispatch(const DispatchOutputs& outputs, RowKind kind);
  // Sums of rows of `kind` that the experts have scaled, with `biases` biases.
  void combine(const CombineOutputs& outputs, RowKind kind, uint32_t biases);
  void combined_weights(const CombineOutputs& outputs);
  void local_experts(const std::vector<uint32_t>& seen);

  // The first wrong value, if any.
  const std::optional<WrongValue>& mismatch() const { return mismatch_; }

 private:
  struct Compared {
    const char* output;
    int64_t row;
    const void* expected;
    const void* seen;
    size_t bytes;  // bytes of the row
    size_t unit;   // bytes of one value
  };
  bool same(const Compared& compared);
  bool same_number(const char* output, int64_t expected, int64_t seen);
  bool same_shape(const char* output, const Tensor& seen, int64_t columns, DLDataType dtype);
  void rows_of(const char* output, const DispatchOutputs& outputs, RowKind kind);

  const Options& options_;
  const Workload* workload_;
  const uint32_t rank_;
  StatusPage& page_;
  reference::Received received_;
  RunTraffic traffic_;
  uint64_t iteration_ = 0;
  uint32_t call_ = 0;
  std::optional<WrongValue> mismatch_;
};

// What `owner`'s experts multiply a token by: weight times factor of each choice that is theirs, in the choices' order.
float expert_scale(const reference::Problem& problem, uint32_t owner, reference::Source token);

}  // namespace transload::cli
