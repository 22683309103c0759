// How signals of Python's, such as Ctrl-C, interrupt a call that waits.
#pragma once
#include <nanobind/nanobind.h>

#include <optional>

namespace transload::python {

namespace nb = nanobind;

// What interrupts one group. Python runs handlers of signals on its main thread alone, so only that one asks.
class Interruption {
 public:
  Interruption();

  // For GroupOptions::interrupted, without Python's lock: runs the handlers of signals that came. Throws what one of
  // them raised, as text, for the fault of the group.
  bool asked();
  // Under Python's lock, after a call, however it ended: raises what a handler raised meanwhile.
  void raise();
  // For where nothing can be raised: Python prints what a handler raised.
  void report(const char* where) noexcept;

 private:
  unsigned long main_thread_;
  std::optional<nb::python_error> raised_;
};

}  // namespace transload::python
