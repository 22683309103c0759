// What a caller gave: arrays of any library as tensors, and numbers and words within their bounds.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <array>
#include <concepts>
#include <limits>
#include <string>
#include <string_view>

#include "python/src/errors.h"
#include "python/src/exchange.h"
#include "runtime/choices.h"
#include "transload/tensor.h"

namespace transload::python {

namespace nb = nanobind;

constexpr int kDimensionsMax = 8;

// Extents of an array, such as [batch, sequence, hidden].
struct Extents {
  int count = 0;
  std::array<int64_t, kDimensionsMax> each{};

  void add(int64_t extent) { each[count++] = extent; }
  // These extents, with another last one.
  Extents with_last(int64_t extent) const;
};

// The library of an array. Outputs are to be arrays of the same library.
struct Library {
  bool numpy = false, torch = false;
  bool constant = false;  // its arrays cannot be written, though DLPack does not say so
  nb::object wrap;        // makes its array of one of ours; None: this is not needed
  std::string unfit;      // why arrays of this type cannot be used; empty: they can
  Exchange exchange;
};
// Reads what transload.arrays says of a type.
Library library_told(nb::handle answer);
// The library of an array, which is looked up once for each type.
const Library& library_of(nb::handle object);

// The type with this name, such as "bfloat16"; bits 0: there is none.
DLDataType type_named(const std::string& name);

// An array of a caller. Its memory stays in place as long as this object lives.
class Argument {
 public:
  enum class Use { kRead, kWrite };

  // None: not given. Throws Error{kInvalidArgument} for what is no array, or cannot be used so.
  Argument(const char* name, nb::handle object, Use use = Use::kRead);
  ~Argument();
  Argument(const Argument&) = delete;
  Argument& operator=(const Argument&) = delete;

  bool given() const { return extents_.count > 0; }
  const Extents& extents() const { return extents_; }
  // [.., n] as a matrix: all dimensions but the last as one.
  Tensor matrix() const;

 private:
  void read_numpy(nb::handle object);
  void read_buffer(nb::handle object);
  bool has_gradient(nb::handle tensor) const;
  void read_table(const Exchange& exchange, nb::handle object);
  void read_dlpack(nb::handle object);
  void take(const DLTensor& tensor, bool read_only);
  void hold_buffer(nb::handle object, int flags);
  void take_extents(int count, const int64_t* extents);

  const char* name_;
  Use use_;
  void* data_ = nullptr;
  DLDevice device_{kDLCPU, 0};
  DLDataType type_{};
  Extents extents_;
  std::array<int64_t, kDimensionsMax> strides_{};  // in elements
  nb::object capsule_;
  Py_buffer buffer_{};
};

// A number of Python as one of C++. Throws Error{kInvalidArgument} if it is none, or beyond the type.
int64_t whole(const char* name, nb::handle value, int64_t least, int64_t most);
template <std::integral T>
T whole(const char* name, nb::handle value) {
  constexpr int64_t most =
      sizeof(T) == 8 ? std::numeric_limits<int64_t>::max() : int64_t(std::numeric_limits<T>::max());
  return T(whole(name, value, int64_t(std::numeric_limits<T>::min()), most));
}
// The text of a str, which is there as long as the object lives. Throws Error{kInvalidArgument} for anything else.
std::string_view text_of(const char* name, nb::handle value);
// An exception in words, such as "KeyError: 'lost'", without the traceback.
std::string summary_of(const nb::python_error& error);
// The value's repr(), shortened, for messages.
std::string shown(nb::handle value);
// The value's str().
std::string text_of(nb::handle value);
// array[:rows], by its own library.
nb::object first_rows(nb::handle array, int64_t rows);

template <class Enum>
Enum choice(const char* name, nb::handle value) {
  const std::optional<Enum> found = choice_of<Enum>(text_of(name, value));
  if (!found) refuse(name, shown(value), all_choices<Enum>());
  return *found;
}

}  // namespace transload::python
