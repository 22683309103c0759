// Which host and which process this is: see host.h.
#include "os/host.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "os/descriptor.h"
#include "os/fork.h"
#include "transload/status.h"

namespace transload {

static std::string boot_identity() {
  const char* const path = "/proc/sys/kernel/random/boot_id";
  const Descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file && !limit_behind(errno).empty())
    throw Error(Code::kOutOfMemory, std::string("group: which host this is: ") + path + ": " + text_of_error(errno));
  char text[256] = "";
  const ssize_t bytes = file ? ::read(file.get(), text, 64) : 0;
  if (bytes <= 0) ::gethostname(text, sizeof text - 1);
  const std::string boot(text);
  return boot.substr(0, std::min<size_t>(boot.find('\n'), 64));
}

std::string host_identity() {
  struct Boot {
    const std::string identity = boot_identity();
  };
  struct stat ns {};
  const bool known = ::stat("/proc/self/ns/net", &ns) == 0;
  return one_per_process<Boot>().identity + "/" + std::to_string(known ? uint64_t(ns.st_ino) : 0);
}

bool one_machine(const std::string& one, const std::string& other) {
  return one.substr(0, one.rfind('/')) == other.substr(0, other.rfind('/'));
}

std::string how_apart(const std::string& one, const std::string& other) {
  if (one == other) return "";
  return one_machine(one, other) ? "in different network namespaces of one host" : "on different hosts";
}

ProcessIdentity process_identity() {
  struct Mine {
    const ProcessIdentity identity{uint32_t(::getpid()), random_word()};
  };
  return one_per_process<Mine>().identity;
}

static std::string limit_of(__rlimit_resource resource, const char* name) {
  rlimit limit{};
  ::getrlimit(resource, &limit);
  return name + (limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur));
}

std::string descriptor_limit() { return limit_of(RLIMIT_NOFILE, "ulimit -n "); }

// poll() is asked about the highest numbers first, of which few are open, and needs no descriptor itself.
size_t descriptors_left(size_t most) {
  constexpr size_t kAtOnce = 1024;  // one poll() takes no more descriptors than the limit
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::vector<pollfd> some;
  size_t left = 0;
  for (auto end = size_t(std::min<rlim_t>(limit.rlim_cur, INT_MAX)); end > 0 && left < most; end -= some.size()) {
    some.resize(std::min(end, kAtOnce));
    for (size_t i = 0; i < some.size(); ++i) some[i] = {int(end - some.size() + i), 0, 0};
    if (::poll(some.data(), some.size(), 0) < 0) return most;
    left += size_t(std::ranges::count_if(some, [](const pollfd& one) { return (one.revents & POLLNVAL) != 0; }));
  }
  return std::min(left, most);
}

std::string limit_behind(int error) {
  const bool limited = error == EMFILE || error == ENFILE || error == ETOOMANYREFS;
  return limited ? " (" + descriptor_limit() + ")" : "";
}

std::string text_of_error(int error) { return std::strerror(error) + limit_behind(error); }

std::string text_of_no_thread(int error) {
  return std::strerror(error) + (error == EAGAIN ? " (" + limit_of(RLIMIT_NPROC, "ulimit -u ") + ")" : "");
}

uint64_t random_word() {
  uint64_t word = 0;
  while (::getrandom(&word, sizeof word, 0) != ssize_t(sizeof word))
    if (errno != EINTR)
      throw Error(Code::kNotSupported, std::string("group: no random numbers: getrandom: ") + std::strerror(errno));
  return word | 1;
}

}  // namespace transload
