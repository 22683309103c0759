// NumPy's arrays over memory of ours. NumPy's C functions make them in a fifth of the time of a call through Python.
#pragma once
#include "python/src/arguments.h"

namespace transload::python {

// A contiguous array, which keeps `owner`. Imports NumPy the first time.
nb::object numpy_array(void* data, DLDataType type, const Extents& extents, const nb::object& owner);

}  // namespace transload::python
