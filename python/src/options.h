// The options of a group, by the names that Python gives them.
#pragma once
#include <string>
#include <utility>

#include "python/src/arguments.h"
#include "transload/group.h"

namespace transload::python {

// Sets what the dictionary has. Numbers go by the list of options (runtime/group_options.h), so a new one has a name
// here as soon as it is there. Throws Error{kInvalidArgument}, also for a name that no option has.
void set_options(GroupOptions& options, const nb::dict& given);

// Seconds as milliseconds, within the bounds of a deadline.
uint32_t milliseconds(const char* name, nb::handle seconds);

// The caller's own all-gather: one call of a Python function with bytes, which returns the bytes of every rank.
class Gatherer {
 public:
  explicit Gatherer(nb::object function) : function_(std::move(function)) {}
  void gather(const void* mine, size_t bytes, void* all, uint32_t ranks) const;
  // To be called once the group is made: lets go of the function.
  void let_go() { function_.reset(); }

 private:
  nb::object function_;
};

}  // namespace transload::python
