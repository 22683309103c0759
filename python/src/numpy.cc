// NumPy's arrays over memory of ours. Its functions of C are a table in a capsule, whose places never change.
#include "python/src/numpy.h"

#include <unordered_map>

#include "base/type_names.h"
#include "python/src/lock.h"

namespace transload::python {

namespace {

class NumpyFunctions {
 public:
  // To be called under Python's lock. An import may give it away meanwhile; then two are made, of which one is used.
  static const NumpyFunctions& get() {
    static const NumpyFunctions* found = nullptr;
    if (found == nullptr) found = new NumpyFunctions;
    return *found;
  }

  nb::object array(PyObject* dtype, int count, const Py_ssize_t* extents, void* data) const {
    constexpr int kContiguous = 0x1, kAligned = 0x100, kWritable = 0x400;
    Py_INCREF(dtype);  // the array takes this reference over
    PyObject* const made =
        new_from_descr_(type_, dtype, count, extents, nullptr, data, kContiguous | kAligned | kWritable, nullptr);
    if (made == nullptr) throw nb::python_error();
    return nb::steal(made);
  }

  void keep(const nb::object& array, const nb::object& owner) const {
    if (set_base_(array.ptr(), owner.inc_ref().ptr()) != 0) throw nb::python_error();
  }

 private:
  using NewFromDescr = PyObject* (*)(PyTypeObject*, PyObject*, int, const Py_ssize_t*, const Py_ssize_t*, void*, int,
                                     PyObject*);
  using SetBase = int (*)(PyObject*, PyObject*);

  NumpyFunctions() {
    const nb::object numpy = imported("numpy");
    const bool first = nb::cast<std::string>(numpy.attr("__version__")).substr(0, 2) == "1.";
    const nb::object core = imported(first ? "numpy.core._multiarray_umath" : "numpy._core._multiarray_umath");
    void** const table = static_cast<void**>(PyCapsule_GetPointer(nb::object(core.attr("_ARRAY_API")).ptr(), nullptr));
    if (table == nullptr) throw nb::python_error();
    type_ = static_cast<PyTypeObject*>(table[2]);
    new_from_descr_ = reinterpret_cast<NewFromDescr>(table[94]);
    set_base_ = reinterpret_cast<SetBase>(table[282]);
  }

  PyTypeObject* type_;
  NewFromDescr new_from_descr_;
  SetBase set_base_;
};

// These types are never released, because Python may end before this table does.
PyObject* dtype_of(DLDataType type) {
  static auto* const known = new std::unordered_map<uint32_t, PyObject*>;
  PyObject*& found = (*known)[uint32_t(type.code) << 8 | type.bits];
  if (found == nullptr) {
    const nb::object numpy_type = imported("transload.arrays").attr("numpy_type");
    nb::object made = called(numpy_type, nb::str(type_name(type).c_str()));
    found = made.release().ptr();
  }
  return found;
}

}  // namespace

nb::object numpy_array(void* data, DLDataType type, const Extents& extents, const nb::object& owner) {
  static_assert(sizeof(Py_ssize_t) == sizeof(int64_t));
  const NumpyFunctions& numpy = NumpyFunctions::get();
  nb::object made =
      numpy.array(dtype_of(type), extents.count, reinterpret_cast<const Py_ssize_t*>(extents.each.data()), data);
  numpy.keep(made, owner);
  return made;
}

}  // namespace transload::python
