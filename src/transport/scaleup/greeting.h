// What processes of a host say over a socket before they map each other's memory. It arrives whole or not at all.
#pragma once
#include <cstdint>

#include "os/descriptor.h"

namespace transload {

struct Greeting {
  uint64_t secret = 0;  // secret of the rank that is spoken to
  uint64_t region = 0;  // region of the sender
  uint32_t rank = 0;    // rank of the sender
  uint32_t zero = 0;
};

// Descriptors that are sent with a greeting.
struct GreetingFds {
  int bell, region;  // region -1: there is none
};
// Descriptors that have come with a greeting.
struct Passed {
  Descriptor bell, region;
};

enum class Heard : uint8_t { kGreeting, kNothing, kEnd };

// Returns 0, or the errno. If `passed` is null, no descriptors go along.
int send_greeting(int socket, Greeting greeting, const GreetingFds* passed);

// Returns kEnd if the other side has gone, or has sent something else than a greeting. With `passed` a greeting needs
// descriptors, and those that come are owned at once; without it none are taken. Throws Error{kOutOfMemory} if this
// process may have no more descriptors.
Heard receive_greeting(int socket, Greeting& greeting, Passed* passed);

}  // namespace transload
