// The floating-point mode of the calling thread, set aside while we compute: sums are defined to the bit, and a caller
// may round otherwise, flush denormals to zero, or trap.
#pragma once
#include <cfenv>

namespace transload {

class DefaultFloatMode {
 public:
  DefaultFloatMode() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatMode() { std::fesetenv(&callers_); }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  std::fenv_t callers_;
};

}  // namespace transload
