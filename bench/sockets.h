// The least that moves the rows of a trip between two nodes of one host: a TCP connection for each pair of
// counterparts, over the loopback interface, through which only their bytes go, both ways at once.
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <mpi.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/run/workload.h"
#include "os/descriptor.h"
#include "reference/reference.h"

namespace transload::bench {

class Sockets {
 public:
  static bool fit(const cli::Options& o) {
    return o.node_sizes().size() == 2 && o.node_sizes()[0] == o.node_sizes()[1];
  }

  // Collective over all ranks.
  Sockets(const cli::Options& o, const cli::Workload& workload, uint32_t rank) {
    const uint32_t size = o.node_sizes()[0], node = rank / size, other = node == 0 ? rank + size : rank - size;
    out_.resize(crossing(o, workload, rank, 1 - node) * o.row_bytes());
    in_.resize(crossing(o, workload, other, node) * o.row_bytes());
    node == 0 ? listen_for(int(other)) : dial(int(other));
    const int on = 1;
    must(setsockopt(line_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
    must(fcntl(line_.get(), F_SETFL, O_NONBLOCK), "fcntl");
  }

  // My rows go to the counterpart, and its rows come.
  void dispatch() { swap(out_, in_); }
  // A sum comes back for each row.
  void combine() { swap(in_, out_); }

 private:
  static void must(ssize_t result, const char* call) {
    if (result < 0) throw std::runtime_error(std::string("sockets: ") + call + ": " + std::strerror(errno));
  }

  // Tokens of `rank` that have an owner in `node`.
  static size_t crossing(const cli::Options& o, const cli::Workload& workload, uint32_t rank, uint32_t node) {
    size_t rows = 0;
    for (int64_t t = 0; t < o.tokens[rank]; ++t)
      rows += !reference::owners_by_node(workload.problem(), {rank, t})[node].empty();
    return rows;
  }

  void listen_for(int other) {
    const Descriptor server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at = here(0);
    socklen_t length = sizeof at;
    must(bind(server.get(), reinterpret_cast<sockaddr*>(&at), length), "bind");
    must(listen(server.get(), 1), "listen");
    must(getsockname(server.get(), reinterpret_cast<sockaddr*>(&at), &length), "getsockname");
    const int port = ntohs(at.sin_port);
    MPI_Send(&port, 1, MPI_INT, other, 0, MPI_COMM_WORLD);
    line_ = Descriptor(accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    must(line_.get(), "accept");
  }
  void dial(int other) {
    int port = 0;
    MPI_Recv(&port, 1, MPI_INT, other, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    line_ = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in at = here(uint16_t(port));
    must(connect(line_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), "connect");
  }
  static sockaddr_in here(uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

  void swap(const std::vector<char>& out, std::vector<char>& in) {
    size_t sent = 0, got = 0;
    while (sent < out.size() || got < in.size()) {
      pollfd ready{line_.get(), short((sent < out.size() ? POLLOUT : 0) | (got < in.size() ? POLLIN : 0)), 0};
      must(poll(&ready, 1, -1), "poll");
      if ((ready.revents & POLLIN) != 0) got += moved(recv(line_.get(), in.data() + got, in.size() - got, 0), "recv");
      if ((ready.revents & POLLOUT) != 0)
        sent += moved(send(line_.get(), out.data() + sent, out.size() - sent, MSG_NOSIGNAL), "send");
    }
  }
  static size_t moved(ssize_t bytes, const char* call) {
    if (bytes < 0 && errno == EAGAIN) return 0;
    must(bytes, call);
    if (bytes == 0) throw std::runtime_error("sockets: the counterpart has gone");
    return size_t(bytes);
  }

  std::vector<char> out_, in_;
  Descriptor line_;
};

}  // namespace transload::bench
