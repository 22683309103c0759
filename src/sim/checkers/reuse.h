// REUSE: nothing is touched any more that its owner has back: inputs and outputs of a call that returned.
#pragma once
#include <string>

#include "sim/model/flight.h"

namespace transload {

// What a call returned, or took back from its peers: nothing may be on its way there, or still read it.
inline std::string check_at_rest(const Flights& flights, const void* at, size_t bytes, const char* what) {
  if (bytes == 0 || flights.at_rest(static_cast<const char*>(at), bytes)) return "";
  return std::string(what) + " of a call that has returned is still being stored to or read";
}

}  // namespace transload
