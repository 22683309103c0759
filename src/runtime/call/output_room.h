// The tensors that a call returns, side by side in one lease: first how long it must be, then where they lie in it.
#pragma once
#include <cstdint>

#include "layout/cursor.h"
#include "layout/regions.h"
#include "runtime/arena.h"
#include "runtime/call/dispatch_form.h"
#include "transload/combine.h"

namespace transload {

// Where the columns of received rows lie.
struct RowColumns {
  // own_rows: x lies elsewhere.
  RowColumns(const TokenShape& shape, uint64_t count, bool own_rows);
  Cursor at{.unit = kSlotAlign};
  uint64_t rows, headers, idx, weights, source, scales;
};

// Where the sums of tokens and of their weights lie.
struct SumColumns {
  SumColumns(uint64_t tokens, uint64_t row_bytes, uint32_t weights_of_token, bool own_rows);
  Cursor at{.unit = kSlotAlign};
  uint64_t rows, weights;
};

class DispatchRoom {
 public:
  // For `rows`, those that come or rows_max. `device`: of the tensors.
  DispatchRoom(const DispatchForm& form, const DispatchInputs& in, uint64_t rows, DLDevice device);

  uint64_t bytes() const { return columns_.at.bytes; }
  // Whether peers may store the rows if all the rest lies in a lease.
  bool rows_leased(const Arena& arena) const { return !own_rows_ || arena.holds(in_.out_x.data, row_bytes()); }
  // Fills in the tensors; `base`: so many bytes.
  LandingPlace hand_out(char* base, bool direct, DispatchOutputs& out) const;
  // Throws where out_x was too short, by how many rows this rank received: the trip went into the lease instead.
  void refuse_if_too_short(int64_t received) const;

 private:
  uint64_t row_bytes() const { return rows_ * shape_.row_bytes; }

  const DispatchInputs& in_;
  const TokenShape shape_;
  const uint64_t rows_;
  const DLDevice device_;
  const bool too_short_, own_rows_;  // out_x; the rows go there
  const RowColumns columns_;
};

class CombineRoom {
 public:
  CombineRoom(const CombineInputs& in, uint32_t weights, DLDevice device);

  uint64_t bytes() const { return columns_.at.bytes; }
  void hand_out(char* base, CombineOutputs& out) const;

 private:
  const CombineInputs& in_;
  const uint32_t weights_;
  const DLDevice device_;
  const SumColumns columns_;
};

}  // namespace transload
