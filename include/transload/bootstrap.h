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
  // Listens on `address` ("0.0.0.0" or "::" for all interfaces, IPv4 and IPv6). Port 0: any free one. `secret`: of the
  // job that it is for, see Bootstrap. Throws Error{kInvalidArgument} if it cannot.
  explicit Rendezvous(const std::string& address = "127.0.0.1", uint16_t port = 0, const std::string& secret = "");
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
  // Ranks that give the same name meet. Groups that live at the same time in one rendezvous need different names: a
  // second one is refused.
  std::string name = "default";
  std::string job;     // which launch this is, alike on all of its ranks; ranks of another are refused
  std::string secret;  // of the job: who cannot prove it gets no seat; "": whoever reaches the rendezvous is trusted.
                       // With an all_gather and none given, rank 0 makes one for the group
  int32_t local_rank = -1;   // among the ranks of this host; -1: the launcher does not say
  int32_t local_ranks = -1;  // how many ranks this host has; likewise
  std::string origin;        // what from_environment() took from which variables, in words

  // From the environment of a launcher: "env" (TRANSLOAD_RANK), "torchrun" (RANK), "mpi" (Open MPI), "pmi" (MPICH,
  // Intel MPI, PALS), "slurm", or "": the first of them that has set a rank. It gives rank, number of ranks and
  // job. The rendezvous is at MASTER_ADDR, its port TRANSLOAD_PORT, else an even one from 20000 to 28190 that follows
  // from the job. The secret is TRANSLOAD_SECRET, or what the file TRANSLOAD_SECRET_FILE holds. Throws
  // Error{kInvalidArgument} naming the variable that is missing or wrong, or two launchers that disagree.
  static Bootstrap from_environment(const std::string& launcher = "");
  // Whether that launcher, or any if it is "", has set a rank. "none": false.
  static bool has_environment(const std::string& launcher = "");
};

}  // namespace transload
