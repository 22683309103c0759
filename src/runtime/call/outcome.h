// The outputs of a call, while it is made, on the host and on GPUs alike. Other ranks count on this one: what goes
// wrong with its outputs is kept until the call has taken part, and thrown then.
#pragma once
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "runtime/call/combine_form.h"
#include "runtime/call/dispatch_form.h"
#include "runtime/call/output_room.h"
#include "runtime/rank_state.h"

namespace transload {

class DispatchOutcome {
 public:
  // `device`: of the tensors. The outcome keeps references to the rest.
  DispatchOutcome(RankState& rank, DispatchForm& form, const DispatchInputs& in, DLDevice device)
      : rank_(rank), form_(form), in_(in), device_(device) {}

  // Asks the caller's function, if there is one, for room for `rows`: those that come, or rows_max.
  void ask(uint64_t rows);
  // Makes the call fail with this error, but only after it has taken part, so that no other rank waits for it.
  void fail_later(const Error& error);
  // To be called after ask(). Leases what is to be leased, chooses the landing and fills in the tensors of `out`. Where
  // the slabs have no room the host takes private memory, which only the ring reaches; a GPU has none, and keeps no
  // row.
  void take(const HandleData& handle);
  // Throws what went wrong. Must be called after the call has taken part.
  void throw_failure() const;

  bool failed() const { return failure_ != nullptr; }
  bool slabs_full() const { return slabs_full_; }
  const LandingPlace& landing() const { return landing_; }
  // Where outputs lie that are not the caller's; null: there are none.
  const std::shared_ptr<Lease::Block>& block() const { return block_; }

  DispatchOutputs out;

 private:
  RankState& rank_;
  DispatchForm& form_;
  const DispatchInputs& in_;
  const DLDevice device_;
  std::optional<DispatchRoom> room_;
  std::exception_ptr failure_;
  bool slabs_full_ = false;
  LandingPlace landing_{};
  std::shared_ptr<Lease::Block> block_;
};

class CombineOutcome {
 public:
  // `device`: of the tensors. The outcome keeps references to the rest.
  CombineOutcome(RankState& rank, const CombineForm& form, const CombineInputs& in, DLDevice device)
      : rank_(rank), form_(form), in_(in), device_(device) {}

  // Asks the caller's function, if there is one; leases what is to be leased; fills in the tensors of `out`. A call
  // that fails writes each sum over the one before. On a GPU the room for that sum and its weights is `spare`; on the
  // host it is private memory, in which outputs also lie if the slabs have no room.
  void take(char* spare = nullptr);
  // Throws what went wrong. Must be called after the call has taken part.
  void throw_failure() const;

  bool failed() const { return failure_ != nullptr; }
  // Where outputs lie that are not the caller's; null: there are none.
  const std::shared_ptr<Lease::Block>& block() const { return block_; }

  CombineOutputs out;

 private:
  void keep_no_sum(char* spare);

  RankState& rank_;
  const CombineForm& form_;
  const CombineInputs& in_;
  const DLDevice device_;
  std::exception_ptr failure_;
  std::shared_ptr<Lease::Block> block_;
};

// Bytes of a row's sum and its weights, one after the other.
constexpr uint64_t spare_sum_bytes(uint64_t row_bytes, uint64_t weights) { return row_bytes + weights * sizeof(float); }

}  // namespace transload
