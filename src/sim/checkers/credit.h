// CREDIT: a slot is filled only when it is free, and no more is credited than was published.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "sim/model/rings.h"
#include "sim/model/violation.h"

namespace transload {

// Judges the rings of one group. The world tells it of every store and count when it starts, before it lands.
class CreditChecker {
 public:
  // `base`: the count that all rings begin with.
  CreditChecker(const AddressBook& book, Word base);
  // Both return what is wrong, or nothing if all is well.
  std::string stores(uint64_t offset, size_t bytes);
  std::string counts(uint64_t offset, Word count);

 private:
  struct Ring {
    Word published, credited;
  };
  Ring& ring(const RingPlace& at_consumer);

  const AddressBook& book_;
  std::vector<Ring> rings_;
  std::vector<uint64_t> begin_;  // [rank][kind]
};

}  // namespace transload
