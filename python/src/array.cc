// Arrays of ours. A capsule owns a copy of what describes the memory, so that nothing of Python is needed to free it.
#include "python/src/array.h"

#include <new>
#include <type_traits>
#include <utility>

#include "base/type_names.h"
#include "python/src/dlpack.h"
#include "python/src/lock.h"
#include "python/src/numpy.h"

namespace transload::python {

struct Array::Shared {
  std::shared_ptr<const Room> room;
  Extents extents, strides;
};

namespace {

char nothing;  // where an array without elements lies

// The buffer protocol's name of a type. A type that has none there is shown as an unsigned integer of its size.
const char* format_of(DLDataType type) {
  const bool is_float = type.code == kDLFloat;
  const bool is_int = type.code == kDLInt;
  if (type.code == kDLBoolCode) return "?";
  if (type.code == kDLComplex) return type.bits == 64 ? "Zf" : "Zd";
  switch (type.bits) {
    case 8:
      return is_int ? "b" : "B";
    case 16:
      return is_float ? "e" : is_int ? "h" : "H";
    case 32:
      return is_float ? "f" : is_int ? "i" : "I";
    default:
      return is_float ? "d" : is_int ? "q" : "Q";
  }
}

struct Description {
  Py_ssize_t shape[kDimensionsMax], strides[kDimensionsMax];
};

int get_buffer(PyObject* object, Py_buffer* view, int) {
  try {
    nb::inst_ptr<Array>(nb::handle(object))->bind_buffer(*view);
    view->obj = nb::handle(object).inc_ref().ptr();
    return 0;
  } catch (const Error& error) {
    PyErr_SetString(PyExc_BufferError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  view->obj = nullptr;
  return -1;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Description*>(view->internal); }

// A capsule that nobody took frees what it holds.
template <class Managed>
void free_unused(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, Managed::kCapsule)) return;
  auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Managed::kCapsule));
  managed->deleter(managed);
}

template <class Managed>
nb::object capsule_of(Managed* managed) {
  PyObject* const capsule = PyCapsule_New(managed, Managed::kCapsule, free_unused<Managed>);
  if (capsule != nullptr) return nb::steal(capsule);
  managed->deleter(managed);
  throw nb::python_error();
}

}  // namespace

Array::Array(std::shared_ptr<const Room> room, const Tensor& tensor, const Extents& extents)
    : room_(std::move(room)),
      data_(tensor.data != nullptr ? tensor.data : &nothing),
      type_(tensor.dtype),
      extents_(extents),
      strides_(extents) {
  int64_t stride = 1;
  for (int i = extents.count; i-- > 0;) {
    strides_.each[i] = stride;
    stride *= extents.each[i];
  }
}

std::string Array::type() const { return type_name(type_); }

nb::tuple Array::shape() const {
  nb::list shape;
  for (int i = 0; i < extents_.count; ++i) shape.append(extents_.each[i]);
  return nb::tuple(shape);
}

int64_t Array::bytes() const {
  int64_t elements = 1;
  for (int i = 0; i < extents_.count; ++i) elements *= extents_.each[i];
  return elements * type_.bits * type_.lanes / 8;
}

DLTensor Array::tensor_of(Shared& shared) const {
  DLTensor tensor{};
  tensor.data = data_;
  tensor.device = {kDLCPU, 0};
  tensor.ndim = extents_.count;
  tensor.dtype = type_;
  tensor.shape = shared.extents.each.data();
  tensor.strides = shared.strides.each.data();
  return tensor;
}

nb::object Array::dlpack(nb::handle max_version, nb::handle dl_device, nb::handle copy) const {
  const bool elsewhere = !dl_device.is_none() && !nb::make_tuple(int(kDLCPU), 0).equal(dl_device);
  if (elsewhere || (!copy.is_none() && nb::cast<bool>(copy)))
    throw nb::buffer_error("an array of Transload is shown where it lies, on the CPU, and not copied");
  const bool versioned = !max_version.is_none() && nb::cast<uint32_t>(max_version[0]) >= kDlpackMajor;
  return versioned ? capsule_of(managed<VersionedTensor>()) : capsule_of(managed<UnversionedTensor>());
}

// Makes what a capsule owns. Its deleter gives back the memory, on any thread.
template <class Managed>
Managed* Array::managed() const {
  auto shared = std::make_unique<Shared>(Shared{room_, extents_, strides_});
  auto managed = std::make_unique<Managed>();
  if constexpr (std::is_same_v<Managed, VersionedTensor>) managed->major = kDlpackMajor;
  managed->tensor = tensor_of(*shared);
  managed->deleter = [](Managed* self) {
    delete static_cast<Shared*>(self->context);
    delete self;
  };
  managed->context = shared.release();
  return managed.release();
}

nb::object Array::given_to(const Exchange& exchange) const { return exchange.take(managed<VersionedTensor>()); }

void Array::bind_buffer(Py_buffer& view) const {
  auto description = std::make_unique<Description>();
  const Py_ssize_t item = type_.bits * type_.lanes / 8;
  if (item * 8 != type_.bits * type_.lanes)
    throw Error(Code::kNotSupported, type() + ": its elements are no whole bytes, must be for the buffer protocol");
  for (int i = 0; i < extents_.count; ++i) {
    description->shape[i] = extents_.each[i];
    description->strides[i] = strides_.each[i] * item;
  }
  view.buf = data_;
  view.len = bytes();
  view.itemsize = item;
  view.readonly = 0;
  view.ndim = extents_.count;
  view.format = const_cast<char*>(format_of(type_));
  view.shape = description->shape;
  view.strides = description->strides;
  view.suboffsets = nullptr;
  view.internal = description.release();
}

nb::object Array::as_numpy(const nb::object& owner) const { return numpy_array(data_, type_, extents_, owner); }

nb::object wrapped(const Library& library, Array array) {
  if (library.exchange.there()) return array.given_to(library.exchange);
  nb::object ours = nb::cast(std::move(array));
  if (library.numpy) return nb::inst_ptr<Array>(ours)->as_numpy(ours);
  return library.wrap.is_none() ? ours : called(library.wrap, ours);
}

void bind_array(nb::module_& module) {
  static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                                {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                                {0, nullptr}};
  nb::class_<Array>(module, "Array", nb::type_slots(slots),
                    "Memory of a group: what DLPack (`__dlpack__`) and the buffer protocol show of it.")
      .def_prop_ro("dtype", &Array::type, "The name of an element's type, such as 'bfloat16'.")
      .def_prop_ro("shape", &Array::shape)
      .def_prop_ro("nbytes", &Array::bytes)
      .def(
          "__dlpack__",
          [](const Array& array, nb::handle, nb::handle max_version, nb::handle dl_device, nb::handle copy) {
            return array.dlpack(max_version, dl_device, copy);
          },
          nb::kw_only(), nb::arg("stream").none() = nb::none(), nb::arg("max_version").none() = nb::none(),
          nb::arg("dl_device").none() = nb::none(), nb::arg("copy").none() = nb::none())
      .def("__dlpack_device__", [](const Array&) { return nb::make_tuple(int(kDLCPU), 0); })
      .def("__repr__", [](const Array& array) {
        return "transload.Array(" + nb::cast<std::string>(nb::repr(array.shape())) + ", " + array.type() + ")";
      });
}

}  // namespace transload::python
