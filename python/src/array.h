// An array of ours: memory of a group, as DLPack and the buffer protocol show it.
#pragma once
#include <memory>

#include "python/src/arguments.h"
#include "transload/dispatch.h"

namespace transload::python {

// What an array's memory lives in. Freed by whoever lets go of it last, on any thread, without Python's lock.
struct Room {
  Lease lease;
  Handle handle;
};

class Array {
 public:
  // Shows the elements of `tensor` in the dimensions of `extents`.
  Array(std::shared_ptr<const Room> room, const Tensor& tensor, const Extents& extents);

  std::string type() const;
  nb::tuple shape() const;
  int64_t bytes() const;
  // Makes a capsule of the version that the consumer knows.
  nb::object dlpack(nb::handle max_version, nb::handle dl_device, nb::handle copy) const;

  void bind_buffer(Py_buffer& view) const;
  nb::object as_numpy(const nb::object& owner) const;
  // Makes an array of the library that has this table. Both share the memory.
  nb::object given_to(const Exchange& exchange) const;

 private:
  struct Shared;
  DLTensor tensor_of(Shared& shared) const;
  template <class Managed>
  Managed* managed() const;

  std::shared_ptr<const Room> room_;
  void* data_;
  DLDataType type_;
  Extents extents_, strides_;
};

// Turns an array of ours into one of that library.
nb::object wrapped(const Library& library, Array array);

void bind_array(nb::module_& module);

}  // namespace transload::python
