// What a caller gave.
#include "python/src/arguments.h"

#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/type_names.h"
#include "python/src/dlpack.h"
#include "python/src/lock.h"

namespace transload::python {

namespace {

// Keeps what was looked up once. It is never freed, because it may be in use when Python ends.
template <class Key, class Value>
std::unordered_map<Key, Value>& kept() {
  static auto* const all = new std::unordered_map<Key, Value>;
  return *all;
}

nb::object of_arrays(const char* function, nb::handle argument) {
  const nb::object asked = imported("transload.arrays").attr(function);
  return called(asked, argument);
}

// What Python says of the error, without the traceback.
std::string message_of(const nb::python_error& error) { return text_of(error.value()); }

// The type of NumPy's dtype. Few are kept: NumPy has few, and a caller may make a new one for each array.
DLDataType type_of_numpy(const char* name, nb::handle dtype) {
  constexpr size_t kKept = 64;
  auto& known = kept<PyObject*, DLDataType>();
  if (const auto found = known.find(dtype.ptr()); found != known.end()) return found->second;
  const nb::object answer = of_arrays("name_of_numpy", dtype);
  const DLDataType type = answer.is_none() ? DLDataType{} : type_named(nb::cast<std::string>(answer));
  const int64_t bits = 8 * nb::cast<int64_t>(dtype.attr("itemsize"));
  if (type.bits == 0 || int64_t(type.bits) != bits)
    refuse(name, "dtype " + shown(dtype), "of a type that DLPack has, whole bytes each, in this machine's byte order");
  if (known.size() < kKept) known.emplace(dtype.inc_ref().ptr(), type);
  return type;
}

// Reads the letters of Python's struct module, as the buffer protocol writes them.
DLDataType type_of_format(const char* name, const Py_buffer& buffer) {
  const std::string_view format = buffer.format == nullptr ? "B" : buffer.format;
  const bool swapped = format[0] == '>' || format[0] == '!';
  std::string_view letter = format.substr(std::string_view("@=<").find(format[0]) != std::string_view::npos ? 1 : 0);
  uint8_t code = kDLOpaqueHandle;
  if (letter.size() == 2 && letter[0] == 'Z') code = kDLComplex;
  if (letter.size() == 1 && std::strchr("bhilq", letter[0]) != nullptr) code = kDLInt;
  if (letter.size() == 1 && std::strchr("BHILQ", letter[0]) != nullptr) code = kDLUInt;
  if (letter.size() == 1 && std::strchr("efd", letter[0]) != nullptr) code = kDLFloat;
  if (letter == "?") code = kDLBoolCode;
  if (swapped || code == kDLOpaqueHandle)
    refuse(name, "format '" + std::string(format) + "'", "of numbers in this machine's byte order");
  return {code, uint8_t(8 * buffer.itemsize), 1};
}

}  // namespace

Extents Extents::with_last(int64_t extent) const {
  Extents other = *this;
  other.each[count - 1] = extent;
  return other;
}

Library library_told(nb::handle answer) {
  const auto name = nb::cast<std::string>(answer[0]);
  const nb::object unfit(answer[2]);
  return {.numpy = name == "numpy",
          .torch = name == "torch",
          .constant = name == "jax" || name == "jaxlib",
          .wrap = nb::object(answer[1]),
          .unfit = unfit.is_none() ? std::string() : nb::cast<std::string>(unfit),
          .exchange = Exchange()};
}

const Library& library_of(nb::handle object) {
  auto& known = kept<PyTypeObject*, Library>();
  PyTypeObject* const type = Py_TYPE(object.ptr());
  if (const auto found = known.find(type); found != known.end()) return found->second;
  const nb::object answer = of_arrays("library_of", nb::handle(reinterpret_cast<PyObject*>(type)));
  Library library = library_told(answer);
  library.exchange = Exchange(reinterpret_cast<PyObject*>(type));
  nb::handle(reinterpret_cast<PyObject*>(type)).inc_ref();
  return known.emplace(type, std::move(library)).first->second;
}

DLDataType type_named(const std::string& name) {
  constexpr uint8_t kCodes = 32;
  for (uint8_t code = 0; code < kCodes; ++code)
    for (const uint8_t bits : {8, 16, 32, 64, 128})
      if (type_name({code, bits, 1}) == name) {
        const bool sized = code > kDLBoolCode;  // its name says how many bits: float8_e4m3fn
        return {code, sized ? uint8_t(name[5] - '0') : bits, 1};
      }
  return {};
}

Argument::Argument(const char* name, nb::handle object, Use use) : name_(name), use_(use) {
  if (object.is_none()) return;
  const Library& library = library_of(object);
  if (!library.unfit.empty()) refuse(name, library.unfit, "an array with memory");
  if (use == Use::kWrite && library.constant) refuse(name, "read-only", "memory that may be written");
  if (library.numpy) {
    read_numpy(object);
  } else if (library.exchange.there()) {
    if (library.torch) has_gradient(object);
    read_table(library.exchange, object);
  } else if (library.torch && has_gradient(object)) {
    const nb::object detach = object.attr("detach");
    read_dlpack(called(detach));
  } else if (nb::hasattr(object, "__dlpack__")) {
    read_dlpack(object);
  } else if (PyObject_CheckBuffer(object.ptr())) {
    read_buffer(object);
  } else {
    refuse(name, "a " + nb::cast<std::string>(object.type().attr("__name__")),
           "an array: of NumPy, torch, CuPy or JAX, or anything with __dlpack__ or the buffer protocol");
  }
}

Argument::~Argument() {
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
}

void Argument::take_extents(int count, const int64_t* extents) {
  if (count < 1 || count > kDimensionsMax)
    refuse(name_, std::to_string(count) + " dimensions", "of 1 to " + std::to_string(kDimensionsMax));
  for (int i = 0; i < count; ++i) extents_.add(extents[i]);
}

void Argument::hold_buffer(nb::handle object, int flags) {
  if (ask_or_stay([&] { return PyObject_GetBuffer(object.ptr(), &buffer_, flags | PyBUF_STRIDES); }) != 0) {
    const nb::python_error error;
    refuse(name_, message_of(error), "an array that shows its memory");
  }
  data_ = buffer_.buf;
  take_extents(buffer_.ndim, buffer_.shape);
  for (int i = 0; i < buffer_.ndim; ++i) {
    if (buffer_.strides[i] % buffer_.itemsize != 0)
      refuse(name_, "a stride of " + std::to_string(buffer_.strides[i]) + " bytes",
             "a multiple of " + std::to_string(buffer_.itemsize) + ", an element's");
    strides_[i] = buffer_.strides[i] / buffer_.itemsize;
  }
  if (use_ == Use::kWrite && buffer_.readonly) refuse(name_, "read-only", "memory that may be written");
}

// The buffer is asked for without a format, because NumPy has none for the types of ml_dtypes.
void Argument::read_numpy(nb::handle object) {
  type_ = type_of_numpy(name_, object.attr("dtype"));
  hold_buffer(object, 0);
}

void Argument::read_buffer(nb::handle object) {
  hold_buffer(object, PyBUF_FORMAT);
  type_ = type_of_format(name_, buffer_);
}

// A call has no gradient of its own, so a tensor that requires one is taken only where torch records none.
bool Argument::has_gradient(nb::handle tensor) const {
  static const nb::handle name = PyUnicode_InternFromString("requires_grad");
  static const nb::handle enabled = nb::object(imported("torch").attr("is_grad_enabled")).release();
  const nb::object answer = tensor.attr(name);
  if (answer.ptr() == Py_False) return false;
  if (nb::cast<bool>(called(enabled)))
    refuse(name_, "a tensor that requires grad", "detached; transload.torch has dispatch and combine with gradients");
  return true;
}

void Argument::read_table(const Exchange& exchange, nb::handle object) {
  DLTensor tensor;
  try {
    tensor = exchange.show(object);
  } catch (const nb::python_error& error) {
    refuse(name_, message_of(error), "an array that DLPack can show");
  }
  take(tensor, false);
}

void Argument::read_dlpack(nb::handle object) {
  try {
    const nb::object show = object.attr("__dlpack__");
    const nb::tuple nothing;
    nb::dict versioned;
    versioned["max_version"] = nb::make_tuple(kDlpackMajor, 0);
    try {
      capsule_ = answer_of([&] { return PyObject_Call(show.ptr(), nothing.ptr(), versioned.ptr()); });
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_TypeError)) throw;  // its __dlpack__ knows no versions
      capsule_ = called(show);
    }
  } catch (const nb::python_error& error) {
    refuse(name_, message_of(error), "an array that DLPack can show");
  }
  PyObject* const capsule = capsule_.ptr();
  if (PyCapsule_IsValid(capsule, VersionedTensor::kCapsule)) {
    const auto* held = static_cast<VersionedTensor*>(PyCapsule_GetPointer(capsule, VersionedTensor::kCapsule));
    if (held->major != kDlpackMajor) refuse(name_, "DLPack " + std::to_string(held->major), "DLPack 1");
    take(held->tensor, held->flags & kReadOnlyFlag);
  } else if (PyCapsule_IsValid(capsule, UnversionedTensor::kCapsule)) {
    const auto* held = static_cast<UnversionedTensor*>(PyCapsule_GetPointer(capsule, UnversionedTensor::kCapsule));
    take(held->tensor, false);
  } else {
    refuse(name_, "a __dlpack__ that gives " + shown(capsule_), "an array whose __dlpack__ gives a new capsule");
  }
}

void Argument::take(const DLTensor& tensor, bool read_only) {
  if (use_ == Use::kWrite && read_only) refuse(name_, "read-only", "memory that may be written");
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  device_ = tensor.device;
  type_ = tensor.dtype;
  take_extents(tensor.ndim, tensor.shape);
  int64_t contiguous = 1;
  for (int i = tensor.ndim; i-- > 0;) {
    strides_[i] = tensor.strides != nullptr ? tensor.strides[i] : contiguous;
    contiguous *= tensor.shape[i];
  }
}

Tensor Argument::matrix() const {
  if (!given()) return {};
  const int last = extents_.count - 1;
  int64_t rows = 1, row_stride = extents_.each[last] * strides_[last];
  // From the last of them on, each must begin where those behind it end.
  for (int i = last; i-- > 0;) {
    const int64_t extent = extents_.each[i];
    if (extent == 1) continue;
    if (rows == 1) row_stride = strides_[i];
    if (rows > 1 && extent > 1 && strides_[i] != rows * row_stride)
      refuse(name_, "dimension " + std::to_string(i) + " of stride " + std::to_string(strides_[i]),
             "an array whose dimensions but the last can be seen as one: stride " + std::to_string(rows * row_stride));
    rows *= extent;
  }
  Tensor tensor{.data = data_, .device = device_, .dtype = type_, .ndim = 2};
  tensor.shape[0] = rows;
  tensor.shape[1] = extents_.each[last];
  const bool empty = rows == 0 || extents_.each[last] == 0;  // then strides mean nothing, and libraries give any
  tensor.strides[0] = empty ? extents_.each[last] : row_stride;
  tensor.strides[1] = empty ? 1 : strides_[last];
  return tensor;
}

int64_t whole(const char* name, nb::handle value, int64_t least, int64_t most) {
  const auto index = [value] { return ask_or_stay([value] { return PyNumber_Index(value.ptr()); }); };
  const nb::object number = PyBool_Check(value.ptr()) ? nb::object() : nb::steal(index());
  const long long result = number.is_valid() ? PyLong_AsLongLong(number.ptr()) : -1;
  const bool failed = result == -1 && PyErr_Occurred() != nullptr;
  if (failed) PyErr_Clear();
  if (!number.is_valid() || failed || result < least || result > most)
    refuse(name, shown(value), "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return result;
}

std::string_view text_of(const char* name, nb::handle value) {
  Py_ssize_t bytes = 0;
  const char* const text = PyUnicode_Check(value.ptr()) ? PyUnicode_AsUTF8AndSize(value.ptr(), &bytes) : nullptr;
  if (text == nullptr) {
    PyErr_Clear();
    refuse(name, shown(value), "text");
  }
  return {text, size_t(bytes)};
}

std::string summary_of(const nb::python_error& error) {
  const auto type = nb::cast<std::string>(error.type().attr("__name__"));
  const std::string text = message_of(error);
  return text.empty() ? type : type + ": " + text;
}

std::string text_of(nb::handle value) {
  return nb::cast<std::string>(answer_of([value] { return PyObject_Str(value.ptr()); }));
}

nb::object first_rows(nb::handle array, int64_t rows) {
  const nb::slice slice{Py_ssize_t(rows)};
  return answer_of([&] { return PyObject_GetItem(array.ptr(), slice.ptr()); });
}

std::string shown(nb::handle value) {
  constexpr size_t kShown = 60;
  auto text = nb::cast<std::string>(answer_of([value] { return PyObject_Repr(value.ptr()); }));
  if (text.size() > kShown) text = text.substr(0, kShown) + "..";
  return text;
}

}  // namespace transload::python
