// Python's lock, given away and taken by threads that may be there still when the interpreter has ended.
#pragma once
#include <nanobind/nanobind.h>

#include <cxxabi.h>
#include <unistd.h>

namespace transload::python {

namespace nb = nanobind;

// Until version 3.14 Python ends a thread that asks for the lock too late by unwinding its stack, and no destructor and
// no function of nanobind's lets that pass: the process would abort. Here the thread stays, as it does in later
// versions.
template <class Ask>
auto ask_or_stay(Ask ask) {
  try {
    return ask();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

// Returns the answer of `ask`, which calls a function of Python's C interface. That may run Python's code, and ask for
// the lock on its way. `ask` itself must hold no object, because its stack may be unwound.
template <class Ask>
nb::object answer_of(Ask ask) {
  PyObject* const answer = ask_or_stay(ask);
  if (answer == nullptr) throw nb::python_error();
  return nb::steal(answer);
}

inline nb::object imported(const char* module) {
  return answer_of([module] { return PyImport_ImportModule(module); });
}

template <class... Given>
nb::object called(nb::handle function, const Given&... given) {
  return answer_of([&] { return PyObject_CallFunctionObjArgs(function.ptr(), given.ptr()..., nullptr); });
}

// While it lives, the calling thread has given the lock away.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    ask_or_stay([this] { PyEval_RestoreThread(state_); });
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

// While it lives, the calling thread, which may be any, has the lock.
class Locked {
 public:
  Locked() : state_(ask_or_stay([] { return PyGILState_Ensure(); })) {}
  ~Locked() { PyGILState_Release(state_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace transload::python
