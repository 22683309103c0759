// Arrays in and out by DLPack's C exchange table, where a library has one: without Python's attributes and capsules.
#pragma once
#include <nanobind/nanobind.h>

#include "python/src/dlpack.h"

namespace transload::python {

class Exchange {
 public:
  // There is no table.
  Exchange() = default;
  // Takes the table that arrays of a type have, if there is one.
  explicit Exchange(nanobind::handle type);

  bool there() const { return table_ != nullptr; }
  // What an array holds, without a reference to it. Throws nanobind::python_error.
  DLTensor show(nanobind::handle array) const;
  // Makes a new array, which then owns the tensor. Throws nanobind::python_error.
  nanobind::object take(VersionedTensor* tensor) const;

 private:
  const ExchangeTable* table_ = nullptr;
};

}  // namespace transload::python
