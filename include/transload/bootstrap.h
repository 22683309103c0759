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
  // Listens on `address` ("0.0.0.0" or "::" for all interfaces, IPv4 and IPv6). With port 0 it takes any free port.
  // `secret` is the secret of the job that it serves, see Bootstrap. Throws Error{kInvalidArgument} if it cannot
  // listen.
  explicit Rendezvous(const std::string& address = "127.0.0.1", uint16_t port = 0, const std::string& secret = "");
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;
  uint16_t port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Gathers `bytes` bytes of every rank into `all` (ranks x bytes, ordered by rank). It is collective, and is called a
// few times while a group is made.
using AllGather = std::function<void(const void* mine, size_t bytes, void* all)>;

// One rank's place in a group, and how it reaches the others.
struct Bootstrap {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  std::string host = "127.0.0.1";  // where the rendezvous is: a name, or an IPv4 or IPv6 address
  uint16_t port = 0;               // port of the rendezvous; with 0 an all_gather must be given
  bool serve = false;              // run the rendezvous here, on host:port (rank 0 under a launcher)
  AllGather all_gather;            // optional: the caller's own; rank 0 then runs a rendezvous at a free port
  // Ranks that give the same name meet. Groups that live at the same time in one rendezvous need different names: a
  // second group of a name is refused.
  std::string name = "default";
  std::string job;     // which launch this is, the same on all of its ranks; ranks of another job are refused
  std::string secret;  // the job's: a rank that cannot prove it gets no seat. "": whoever reaches the rendezvous is
                       // trusted; with an all_gather rank 0 then makes a secret for the group
  int32_t local_rank = -1;   // index among the ranks of this host; -1: the launcher does not say
  int32_t local_ranks = -1;  // how many ranks this host has; -1: the launcher does not say
  std::string origin;        // a sentence: what from_environment() took from which variables

  // Reads the environment of a launcher: "env" (TRANSLOAD_RANK), "torchrun" (RANK), "mpi" (Open MPI), "pmi" (MPICH,
  // Intel MPI, PALS) or "slurm"; "" takes the first of them that has set a rank. The launcher gives rank, number of
  // ranks and job. The rendezvous is at MASTER_ADDR; its port is TRANSLOAD_PORT, else an even port from 20000 to 28190
  // that is computed from the job. The secret is TRANSLOAD_SECRET, or the content of the file that
  // TRANSLOAD_SECRET_FILE names. Throws Error{kInvalidArgument} that names the variable that is missing or wrong, or
  // two launchers that disagree.
  static Bootstrap from_environment(const std::string& launcher = "");
  // Says whether `launcher`, or any launcher if it is "", has set a rank in the environment. For "none" it is false.
  static bool has_environment(const std::string& launcher = "");
};

}  // namespace transload
