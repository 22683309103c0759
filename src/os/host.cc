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

static std::string limit_of(__rlimit_resource resource, const char* name) {
  rlimit limit{};
  ::getrlimit(resource, &limit);
  return name + (limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur));
}

std::string descriptor_limit() { return limit_of(RLIMIT_NOFILE, "ulimit -n "); }

std::string text_of_error(int error) {
  const bool limited = error == EMFILE || error == ENFILE || error == ETOOMANYREFS;
  return std::strerror(error) + (limited ? " (" + descriptor_limit() + ")" : "");
}

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
