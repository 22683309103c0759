// What two processes of a host say over a socket before they map each other's memory: whole, or not at all.
#pragma once
#include <cstdint>

#include "os/descriptor.h"

namespace transload {

struct Greeting {
  uint64_t secret = 0;  // of the rank that is spoken to
  uint64_t region = 0;  // of the sender
  uint32_t rank = 0;    // of the sender
  uint32_t zero = 0;
};

// Descriptors that go with a greeting, as they are passed on and as they come.
struct GreetingFds {
  int bell, region;  // region -1: there is none
};
struct Passed {
  Descriptor bell, region;
};

enum class Heard : uint8_t { kGreeting, kNothing, kEnd };

// Returns 0, or the error. With null, nothing is passed.
int send_greeting(int socket, Greeting greeting, const GreetingFds* passed);

// Returns kEnd if the other side has gone, or has said what is no greeting. With `passed` a greeting needs descriptors,
// and those that come are owned at once; without it none are taken. Throws Error{kOutOfMemory} if this process may have
// no more descriptors.
Heard receive_greeting(int socket, Greeting& greeting, Passed* passed);

}  // namespace transload
