// Which host and which process this is: see host.h.
#include "os/host.h"

#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "os/fork.h"
#include "transload/status.h"

namespace transload {

std::string host_identity() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  if (boot.empty()) {
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    boot = name;
  }
  struct stat ns {};
  const bool known = ::stat("/proc/self/ns/net", &ns) == 0;
  return boot.substr(0, 64) + "/" + std::to_string(known ? uint64_t(ns.st_ino) : 0);
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

std::string descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return "ulimit -n " + (limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur));
}

uint64_t random_word() {
  uint64_t word = 0;
  while (::getrandom(&word, sizeof word, 0) != ssize_t(sizeof word))
    if (errno != EINTR)
      throw Error(Code::kNotSupported, std::string("group: no random numbers: getrandom: ") + std::strerror(errno));
  return word | 1;
}

}  // namespace transload
