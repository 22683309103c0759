// Where the ranks of a group meet: an address to dial, and the server itself if it is run here.
#pragma once
#include <transload/bootstrap.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/rendezvous.h"

namespace transload {

struct MeetingPoint {
  std::vector<std::string> hosts;  // names or addresses of one server, the likeliest first
  uint16_t port = 0;
  uint64_t server = 0;                       // number of the server; 0: any server
  std::string secret;                        // the caller's, or one that rank 0 made for this group
  std::shared_ptr<RendezvousServer> served;  // the server, if this process runs it
  std::string note;                          // what this rank knows that may keep others from coming
};

// Opens the server if this rank is to serve. With a caller's all_gather and no port the function is collective.
MeetingPoint find_meeting_point(const Bootstrap& bootstrap, uint32_t deadline_ms);

}  // namespace transload
