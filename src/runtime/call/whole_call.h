// How a call that throws is left.
#pragma once
#include <exception>
#include <new>
#include <string>

#include "transload/status.h"

namespace transload {

// What the caller's own code threw in a call, kept until all ranks have what is theirs.
struct CallersFailure {
  std::exception_ptr thrown;
};

// Once other ranks count on this one, run() may end only with its result, with the group's fault, or with an Error that
// leaves the group usable, because all ranks have what is theirs. Anything else that this rank suffers is a fault:
// call.give_up(operation, reason) tells all others, and does not return.
//
// `call` says by counted_on() whether others still wait for what this rank owes them, and by begun() whether there is
// no way back.
template <class Call, class Run>
auto whole_call(Call& call, const char* operation, Run run) {
  std::string reason;
  try {
    return run();
  } catch (const Error& error) {
    if (!call.counted_on()) throw;
    reason = error.what();
  } catch (const CallersFailure& failure) {
    std::rethrow_exception(failure.thrown);
  } catch (const std::bad_alloc&) {
    if (!call.begun())
      throw Error(Code::kOutOfMemory, std::string(operation) + ": out of memory; the group is still usable");
    reason = "out of memory";
  } catch (const std::exception& error) {
    if (!call.begun()) throw;
    reason = error.what();
  }
  call.give_up(operation, reason);
  __builtin_unreachable();  // g++ 12 forgets that a virtual function of a template does not return
}

}  // namespace transload
