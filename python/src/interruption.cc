// Asking Python whether a handler of a signal has raised: see interruption.h.
#include "python/src/interruption.h"

#include <stdexcept>
#include <utility>

#include "python/src/arguments.h"
#include "python/src/lock.h"

namespace transload::python {

Interruption::Interruption()
    : main_thread_(nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"))) {}

bool Interruption::asked() {
  if (PyThread_get_thread_ident() != main_thread_) return false;
  const Locked lock;
  if (PyErr_CheckSignals() == 0) return false;
  raised_.emplace();
  throw std::runtime_error(summary_of(*raised_));
}

void Interruption::raise() {
  if (!raised_) return;
  const nb::python_error raised = std::move(*raised_);
  raised_.reset();
  throw raised;
}

void Interruption::report(const char* where) noexcept {
  if (raised_) raised_->discard_as_unraisable(where);
  raised_.reset();
}

}  // namespace transload::python
