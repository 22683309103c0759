// How the ranks of a group find each other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace transload {

// Where ranks meet: a small server that gathers addresses when a group is made and afterwards carries heartbeats and
// verdicts. A launcher may run one for its ranks; otherwise rank 0 does, inside its own process. Its threads end with
// the object, and groups that still use it are faulted.
class Rendezvous {
 public:
  // Listens on `address` ("0.0.0.0" or "::" for all interfaces, IPv4 and IPv6). Port 0: any free one. Throws
  // Error{kInvalidArgument} if it cannot.
  explicit Rendezvous(const std::string& address = "127.0.0.1", uint16_t port = 0);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;
  uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Gathers `bytes` bytes of every rank into `all` (ranks x bytes, by rank). Collective; called a few times while a group
// is made.
using AllGather = std::function<void(const void* mine, size_t bytes, void* all)>;

// One rank's place in a group, and how it reaches the others.
struct Bootstrap {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  std::string host = "127.0.0.1";  // of the rendezvous: a name, or an address of IPv4 or IPv6
  uint16_t port = 0;               // of the rendezvous; 0: an all_gather must be given
  bool serve = false;              // run the rendezvous here, on host:port (rank 0 under a launcher)
  AllGather all_gather;            // optional: a caller's own; then rank 0 runs a rendezvous at a free port
  std::string name = "default";    // ranks that give the same name meet; groups in one rendezvous need different names
  std::string job;                 // which launch this is, alike on all of its ranks; ranks of another are refused
  std::string secret;              // of the job: who cannot prove it is let in nowhere; "": the network is trusted

  // From the launcher's environment: TRANSLOAD_RANK/_RANKS, RANK/WORLD_SIZE (torchrun), OMPI_COMM_WORLD_RANK/_SIZE or
  // SLURM_PROCID/SLURM_NTASKS, then MASTER_ADDR and TRANSLOAD_PORT (29600 unless set; torchrun's MASTER_PORT is its
  // own). Throws Error{kInvalidArgument} naming the variable that is missing or wrong.
  static Bootstrap from_environment();
  // True if a launcher has set a rank.
  static bool has_environment();
};

}  // namespace transload
