// Arrays in and out by DLPack's C exchange table.
#include "python/src/exchange.h"

namespace nb = nanobind;

namespace transload::python {

namespace {

// The table of the version that we know; a newer library may have an older table too.
const ExchangeTable* known(const ExchangeTable* table) {
  while (table != nullptr && table->major > kDlpackMajor) table = table->older;
  const bool usable = table != nullptr && table->major == kDlpackMajor && table->show != nullptr;
  return usable ? table : nullptr;
}

}  // namespace

Exchange::Exchange(nb::handle type) {
  // The second is what the first was called while it was a draft.
  for (const char* const name : {"__dlpack_c_exchange_api__", "__c_dlpack_exchange_api__"}) {
    const nb::object capsule = nb::getattr(type, name, nb::none());
    if (!PyCapsule_IsValid(capsule.ptr(), ExchangeTable::kCapsule)) continue;
    table_ = known(static_cast<const ExchangeTable*>(PyCapsule_GetPointer(capsule.ptr(), ExchangeTable::kCapsule)));
    return;
  }
}

DLTensor Exchange::show(nb::handle array) const {
  DLTensor tensor{};
  if (table_->show(array.ptr(), &tensor) != 0) throw nb::python_error();
  return tensor;
}

nb::object Exchange::take(VersionedTensor* tensor) const {
  void* array = nullptr;
  if (table_->take(tensor, &array) != 0) throw nb::python_error();
  return nb::steal(static_cast<PyObject*>(array));
}

}  // namespace transload::python
