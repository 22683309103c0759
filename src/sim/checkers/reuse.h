// REUSE: the inputs and outputs of a call that has returned are its owner's again, and nobody else touches them.
#pragma once
#include <string>

#include "sim/model/flight.h"

namespace transload {

// `what` names the bytes, which a call returned or has back from peers: nothing may be on its way there or still read
// them.
inline std::string check_at_rest(const Flights& flights, const void* at, size_t bytes, const char* what) {
  if (bytes == 0 || flights.at_rest(static_cast<const char*>(at), bytes)) return "";
  return std::string(what) + " of a call that has returned is still being stored to or read";
}

}  // namespace transload
