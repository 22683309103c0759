// The tensors that a call returns, side by side in one lease, or in memory that the caller has for them: first how long
// the lease must be, then where they lie.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "layout/cursor.h"
#include "layout/regions.h"
#include "runtime/arena.h"
#include "runtime/call/check_inputs.h"
#include "runtime/call/dispatch_form.h"
#include "transload/combine.h"

namespace transload {

// Which outputs of a call lie in memory of the caller's.
struct CallersOutputs {
  bool rows = false;  // x
  bool rest = false;  // all outputs but x
};

// Where the columns of received rows lie.
struct RowColumns {
  RowColumns(const TokenShape& shape, uint64_t count, DLDataType idx_type, CallersOutputs elsewhere);
  Cursor at{.unit = kSlotAlign};
  uint64_t rows, headers, idx, weights, source, scales;
};

// Where the sums of tokens and of their weights lie.
struct SumColumns {
  SumColumns(uint64_t tokens, uint64_t row_bytes, uint32_t weights_of_token, CallersOutputs elsewhere);
  Cursor at{.unit = kSlotAlign};
  uint64_t rows, weights;
};

// What the caller's function gives, output by output.
class CallersRoom {
 public:
  // `others`: tensors of the call that no output may lie over. Without a function nothing is asked.
  CallersRoom(const RoomFor& room, std::vector<NamedTensor> others) : room_(room), taken_(std::move(others)) {}
  // Gives the tensor memory. Throws what the function throws, and Error for memory that must not be written.
  Tensor ask(Output which, Tensor tensor);

 private:
  const RoomFor& room_;
  std::vector<NamedTensor> taken_;
};

class DispatchRoom {
 public:
  // `rows`: those that come, or rows_max. `device`: of the tensors.
  DispatchRoom(const DispatchForm& form, const DispatchInputs& in, uint64_t rows, DLDevice device);

  uint64_t bytes() const { return columns_.at.bytes; }
  bool needs_lease() const { return !asks() || bytes() > 0; }
  // Asks the caller's function, if there is one, for what hand_out() is to hand out. Throws what the function throws;
  // Error if it gave memory that must not be written, or that peers must reach and cannot.
  void ask(const Arena& arena);
  // The output that peers cannot store into although all the rest lies in a lease; null: there is none.
  const char* outside(const Arena& arena) const;
  // Fills in the tensors. What is not the caller's lies from `base` on, in as many bytes as bytes() says.
  LandingPlace hand_out(char* base, bool direct, DispatchOutputs& out) const;
  // Throws if out_x was too short for the rows that this rank received, which went into the lease instead.
  void refuse_if_too_short(int64_t received) const;

 private:
  // Whether the caller's function is asked for outputs: not if out_x is too short, because that error comes first.
  bool asks() const { return in_.room && !too_short_; }
  CallersOutputs elsewhere() const { return {.rows = in_.out_x.given() ? !too_short_ : asks(), .rest = asks()}; }
  Tensor tensor(uint64_t columns, DLDataType type, const void* data = nullptr) const;

  const DispatchInputs& in_;
  const TokenShape shape_;
  const uint64_t rows_;
  const DLDevice device_;
  const bool too_short_;  // out_x has room for too few rows
  const RowColumns columns_;
  Tensor x_;                                          // out_x, or what the caller's function gave
  Tensor scales_, topk_idx_, topk_weights_, source_;  // what the caller's function gave
};

class CombineRoom {
 public:
  CombineRoom(const CombineInputs& in, uint32_t weights, DLDevice device);

  uint64_t bytes() const { return columns_.at.bytes; }
  // Asks the caller for what hand_out() hands out, as DispatchRoom::ask() does.
  void ask();
  void hand_out(char* base, CombineOutputs& out) const;

 private:
  CallersOutputs elsewhere() const {
    return {.rows = in_.out_x.given() || in_.room, .rest = in_.out_topk_weights.given() || in_.room};
  }

  const CombineInputs& in_;
  const uint32_t weights_;
  const DLDevice device_;
  const SumColumns columns_;
  Tensor x_, topk_weights_;  // outputs in the caller's memory
};

}  // namespace transload
