// What `transload sim --time` is given: a cluster whose links and processors take time, and the calls that it makes.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "sim/model/rail_mode.h"

namespace transload {

struct TimedMachine {
  uint32_t nodes = 2;
  uint32_t gpus = 8;           // GPUs of each node, a rank each
  uint32_t sms = 16;           // SMs of each GPU that a call takes
  double wire_gb_s = 50;       // rate of each rank's NIC, each way, headers of packets included
  double wire_rows = 0.98;     // the part of the rate that carries bytes: packets have 4,096, and some 80 of headers
  uint64_t latency_ns = 3000;  // time one way, until a warp that looks has seen what came
  uint64_t message_ns = 2;     // time that a message occupies either port, besides that of its bytes
  RailMode rails = RailMode::kQueues;
  uint64_t command_ns = 250;  // time that a proxy takes for one command
  // What bench_gpu_trip shows of an H200 (docs/numbers.md): 117 MB stored in 305 us by 8 SMs, and 59 MB to the peer in
  // 183 us however many SMs there are.
  double sm_gb_s = 48;
  double scale_up_gb_s = 320;  // rate of each rank, each way
  uint64_t scale_up_latency_ns = 1000;
};

struct TimedJob {
  uint32_t tokens = 4096;  // tokens of each rank
  uint32_t hidden = 7168;
  bool fp8 = false;  // dispatched rows are fp8, with a scale for 128 elements; false: bf16, as combined ones are
  uint32_t top_k = 8;
  uint32_t experts = 256;
  uint32_t channels = 0, slots = 0, batch = 0;  // batch: rows of a put; 0 of each: as the library chooses on a GPU
  uint64_t seed = 1;                            // seed of the routing
};

// Where the time of the ranks' ports out went, on average, as parts of the call's time.
struct PortTime {
  double sends = 0;     // bytes or headers of packets leave
  double start = 0;     // nothing has left yet
  double stores = 0;    // warps store what is to be sent, or what has come
  double slots = 0;     // rows wait for a free slot: too little is under way for the way there and back
  double commands = 0;  // the proxy has more commands than it can take
  double peers = 0;     // warps wait for something else of another rank
  double tail = 0;      // this rank has sent all, and others have not
};

struct TimedCall {
  std::string name;
  uint64_t ns = 0;         // time until the last rank has ended
  uint64_t rail_rows = 0;  // tokens or partial sums that crossed between nodes, of all ranks
  uint64_t rail_bytes = 0;
  double share = 0;  // share of the wire: rail_bytes of an average rank over what its NIC could have sent in that time
  PortTime port;
};

// Names the largest part of the port's time besides sending, as "stores", or "the wire" if ports hardly stood idle.
std::string bound_of(const PortTime& port);

// Returns the job with the library's choices filled in.
TimedJob with_choices(const TimedMachine& machine, const TimedJob& job);

// Runs a cached dispatch, then a combine. The times are the same on every machine. Throws Error{kInvalidArgument} for
// what no group can be made of, {kOutOfMemory}.
std::vector<TimedCall> run_timed(const TimedMachine& machine, const TimedJob& job);

}  // namespace transload
