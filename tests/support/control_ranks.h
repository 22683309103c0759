// Ranks at a rendezvous, without a group: their places, threads, processes and errors.
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "control/control.h"
#include "control/rendezvous.h"
#include "os/descriptor.h"
#include "tests/support/patience.h"

namespace transload::meet {

constexpr uint32_t kDeadlineMs = 60'000;  // of what ends well

// How long a test lets ranks tell what they noted before it raises a suspicion: many heartbeats.
constexpr unsigned kManyBeatsUs = 1'000'000;

inline Bootstrap place(uint32_t rank, uint32_t ranks, uint16_t port, const std::string& name = "g") {
  Bootstrap bootstrap;
  bootstrap.rank = rank;
  bootstrap.ranks = ranks;
  bootstrap.port = port;
  bootstrap.name = name;
  return bootstrap;
}

inline std::vector<uint32_t> one_node(uint32_t ranks) { return std::vector<uint32_t>(ranks, 0); }

// Runs `body(rank)` on a thread for each rank.
inline void as_threads(uint32_t ranks, const std::function<void(uint32_t)>& body) {
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < ranks; ++rank) threads.emplace_back([&body, rank] { body(rank); });
  for (std::thread& thread : threads) thread.join();
}

// The fault that `body` throws.
inline Fault fault_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kFault) << error.what();
    return error.fault();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

inline std::string refusal_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

// Waits until the abort word is set.
inline bool aborted(Control& control) {
  return eventually([&] { return control.abort_word().load(std::memory_order_acquire) != 0; });
}

inline bool connects(int fd, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

inline int connect_raw(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_TRUE(connects(fd, port));
  return fd;
}

// Waits until somebody listens at a port of this host.
inline bool is_served(uint16_t port) {
  return eventually([port] {
    const Descriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return connects(fd.get(), port);
  });
}

// Waits until nobody listens at a port of this host.
inline bool is_free(uint16_t port) {
  return eventually([port] {
    try {
      RendezvousServer server({"127.0.0.1", port});
      return true;
    } catch (const Error&) {
      return false;
    }
  });
}

inline bool has_v6() {
  try {
    RendezvousServer server({"::1", 0});
    return true;
  } catch (const Error&) {
    return false;
  }
}

// A child process, which waits until it is told a port, and ends with this object. It is forked before the test starts
// any thread.
class PortChild {
 public:
  explicit PortChild(const std::function<int(uint16_t port)>& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[1]);
      uint16_t port = 0;
      if (::read(ends[0], &port, sizeof port) != sizeof port) ::_exit(99);
      int status = 98;
      try {
        status = body(port);
      } catch (const std::exception& error) {
        ::fprintf(stderr, "child: %s\n", error.what());
      }
      ::_exit(status);
    }
    ::close(ends[0]);
    to_ = ends[1];
  }
  ~PortChild() {
    kill(SIGKILL);
    wait();
    ::close(to_);
  }
  void go(uint16_t port) { EXPECT_EQ(::write(to_, &port, sizeof port), ssize_t(sizeof port)); }
  void kill(int signal) {
    if (pid_ > 0) ::kill(pid_, signal);
  }
  // Returns once all threads of the child stand still, whoever stopped it.
  void wait_until_stopped() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    EXPECT_TRUE(WIFSTOPPED(status)) << status;
  }
  int wait() {
    if (pid_ <= 0) return status_;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return status_;
  }

 private:
  pid_t pid_ = 0;
  int to_ = -1;
  int status_ = -1;
};

}  // namespace transload::meet
