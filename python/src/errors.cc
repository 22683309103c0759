// Our errors as Python's exceptions.
#include "python/src/errors.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>

#include "python/src/lock.h"

namespace nb = nanobind;

namespace transload::python {

namespace {

nb::dict fields_of(const Fault& fault) {
  nb::dict fields;
  fields["kind"] = name_of(fault.kind);
  fields["rank"] = fault.rank;
  fields["culprit_rank"] = fault.kind == FaultKind::kRendezvous ? nb::none() : nb::object(nb::int_(fault.culprit_rank));
  fields["operation"] = fault.operation;
  fields["role"] = fault.role;
  fields["channel"] = fault.channel < 0 ? nb::none() : nb::object(nb::int_(fault.channel));
  fields["waiting_for"] = fault.waiting_for;
  fields["seen"] = fault.seen;
  fields["expected"] = fault.expected;
  fields["after_ms"] = fault.after_ms;
  fields["detail"] = fault.detail;
  fields["own_view"] = fault.own_view;
  return fields;
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    nb::dict fields = error.code() == Code::kFault ? fields_of(error.fault()) : nb::dict();
    if (dynamic_cast<const RefusedAlike*>(&error) != nullptr) fields["alike"] = true;
    const nb::object make = imported("transload.errors").attr("make");
    const nb::object made = called(make, nb::str(word_of(error.code())), nb::str(error.what()), fields);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
  }
}

}  // namespace

void translate_errors() { nb::register_exception_translator(translate); }

const char* word_of(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kNotSupported:
      return "not_supported";
    case Code::kOutOfMemory:
      return "out_of_memory";
    case Code::kFault:
      return "fault";
    case Code::kBadExpertId:
      return "bad_expert_id";
    case Code::kTooManyRows:
      return "too_many_rows";
    case Code::kDevice:
      return "device";
  }
  return "?";
}

void refuse(const std::string& argument, const std::string& value, const std::string& bound) {
  throw Error(Code::kInvalidArgument, argument + ": " + value + ", must be " + bound);
}

}  // namespace transload::python
