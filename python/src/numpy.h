// NumPy's arrays over memory of ours, by NumPy's functions of C: a fifth of what a call through Python takes.
#pragma once
#include "python/src/arguments.h"

namespace transload::python {

// A contiguous array, which keeps `owner`. Imports NumPy the first time.
nb::object numpy_array(void* data, DLDataType type, const Extents& extents, const nb::object& owner);

}  // namespace transload::python
