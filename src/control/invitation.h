// What ranks tell each other through the caller's own all-gather: where each is, and where rank 0 lets them meet.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "transload/status.h"

namespace transload {

struct Invitation {
  static constexpr size_t kBytes = 1280;  // length of a packed invitation
  static constexpr size_t kAddressesMax = 768, kProblemMax = 256;

  std::string host;       // identity of the rank's host; ranks that share it may use the loopback
  std::string addresses;  // addresses of rank 0's server, separated by spaces
  std::string problem;    // why there is no server, or what the rank lacks
  std::string secret;     // the group's secret, unless the caller has one
  uint64_t server = 0;    // the server's number; 0: there is no server
  uint16_t port = 0;
  Code code = Code::kInvalidArgument;  // code of the problem: kInvalidArgument or kOutOfMemory

  std::string pack() const;
  // Throws Error{kInvalidArgument}, which names `rank`, for bytes that this rank's pack() cannot have made: only rank 0
  // may give a server, its addresses and a secret.
  static Invitation unpack(uint32_t rank, std::string_view bytes);
};

}  // namespace transload
