// A forked process, and the line on which it and its parent exchange texts.
#pragma once
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>

#include "tests/support/patience.h"

namespace transload {

// The parent's hold on a child that runs `body` and exits with what that returns. The child ends with this object.
class Child {
 public:
  explicit Child(const std::function<int(int line)>& body) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      ::alarm(unsigned(2 * kPatience.count()));
      int status = 98;
      try {
        status = body(ends[1]);
      } catch (const std::exception& error) {
        ::fprintf(stderr, "child: %s\n", error.what());
      }
      ::_exit(status);
    }
    ::close(ends[1]);
    line_ = ends[0];
  }
  ~Child() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    wait();
    ::close(line_);
  }
  Child(const Child&) = delete;
  int line() const { return line_; }
  pid_t pid() const { return pid_; }
  int wait() {
    if (pid_ <= 0) return -1;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
  int line_ = -1;
};

inline void say(int line, const std::string& text) {
  const uint32_t size = uint32_t(text.size());
  const std::string frame = std::string(reinterpret_cast<const char*>(&size), 4) + text;
  if (::send(line, frame.data(), frame.size(), MSG_NOSIGNAL) != ssize_t(frame.size())) ::perror("say");
}

inline std::string hear(int line) {
  uint32_t size = 0;
  if (::recv(line, &size, 4, MSG_WAITALL) != 4) return {};
  std::string text(size, 0);
  return ::recv(line, text.data(), size, MSG_WAITALL) == ssize_t(size) ? text : std::string();
}

}  // namespace transload
