// What a link of the simulator does to what passes it.
#pragma once
#include <cstdint>

namespace transload {

// The last four say how likely it is, from 0 to 1, that a transfer does what stands beside them.
struct LinkModel {
  uint64_t latency_ns = 0;
  double bandwidth_gb_s = 0;  // gigabytes a second of each port of a rank; 0: no limit
  uint64_t message_ns = 0;    // time that a message occupies a port, besides that of its bytes
  double delay = 0;           // takes many times its latency
  double reorder = 0;         // is overtaken by later ones, where the link keeps no order
  double split = 0;           // lands in pieces
  double stall = 0;           // holds up what follows it
};

}  // namespace transload
