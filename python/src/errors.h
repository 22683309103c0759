// Our errors as Python's exceptions, which transload/errors.py defines.
#pragma once
#include <string>

#include "transload/status.h"

namespace transload::python {

// From now on an Error that leaves a function of the module becomes the exception of its code.
void translate_errors();

// An Error that every rank of a call throws, so that no rank waits for another: the exception says so (`alike`).
class RefusedAlike : public Error {
 public:
  explicit RefusedAlike(const Error& error) : Error(error) {}
};

const char* word_of(Code code);

// Throws Error{kInvalidArgument} in the words that all of its messages have.
[[noreturn]] void refuse(const std::string& argument, const std::string& value, const std::string& bound);

}  // namespace transload::python
