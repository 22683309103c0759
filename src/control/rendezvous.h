// The server of a rendezvous: one thread that carries frames between sockets and Meetings.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace transload {

// All interfaces of both families, where this host has both. "0.0.0.0" means the same.
constexpr const char* kAllInterfaces = "::";

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  std::string job{};     // the job of the groups that are served; "": every job, and ranks of two jobs never meet
  std::string secret{};  // the secret that ranks must prove; "": whoever reaches the server is trusted
};

class RendezvousServer {
 public:
  // Throws Error{kInvalidArgument} if it cannot listen there, {kOutOfMemory} if it can have no thread.
  explicit RendezvousServer(const ServerOptions& options);
  // Sends what is still queued, for a moment at most, then closes everything.
  ~RendezvousServer();
  RendezvousServer(const RendezvousServer&) = delete;
  RendezvousServer& operator=(const RendezvousServer&) = delete;
  uint16_t port() const;
  uint64_t number() const;                          // random; tells this server from others at the same port
  bool is_for(const ServerOptions& options) const;  // true: the server has this job and secret

 private:
  struct Impl;
  friend struct SharedServers;
  std::unique_ptr<Impl> impl_;
};

// The server that this process runs at a port; opened if there is none. Retries for `patience_ms` while the port is
// still in use. Port 0: a new server at a free port. It belongs to no group: once nobody here holds it, it stays as
// long as a group has members that use it, wherever they are, or until the process ends. Throws Error{kInvalidArgument}
// if it cannot be opened, or is open for another job or secret.
std::shared_ptr<RendezvousServer> shared_server(const ServerOptions& options, uint32_t patience_ms);

}  // namespace transload
