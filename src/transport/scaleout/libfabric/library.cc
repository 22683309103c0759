// Loading libfabric.so.1.
#include "transport/scaleout/libfabric/library.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>

#include <transload/status.h>

#include "base/check.h"
#include "os/host.h"
#include "os/shared_library.h"

namespace transload {
namespace {

struct Loaded {
  FabricLibrary calls{};
  std::string why;     // why libfabric cannot be used; "" if it can
  std::string stages;  // what fabric_stages() returns
};

constexpr const char* kLibrary = "libfabric.so.1";

// A variable that libfabric's provider for TCP reads once, when a process first asks libfabric for anything.
constexpr const char* kStaging = "FI_TCP_STAGING_SBUF_SIZE";

size_t threads_here() {
  size_t count = 0;
  if (DIR* const tasks = opendir("/proc/self/task")) {
    while (const dirent* const task = readdir(tasks)) count += task->d_name[0] != '.';
    closedir(tasks);
  }
  return count;
}

// The variable is set when this library is loaded, because threads that start later may be reading the environment.
[[maybe_unused]] const bool staging_forbidden = threads_here() == 1 && setenv(kStaging, "0", 0) == 0;

constexpr const char* kUniverse = "FI_UNIVERSE_SIZE";
constexpr size_t kUniverseUnsaid = 256;  // libfabric's own default

// The variable that tell_universe sets, in memory of ours, so that its value can change when there are threads. No user
// writes base 16, so a value that a parent process left is not taken for the user's.
char* const universe = strdup("FI_UNIVERSE_SIZE=0x00000100");

bool universe_is_unsaid() {
  const char* const there = getenv(kUniverse);
  return there == nullptr || (std::strlen(there) == std::strlen("0x00000100") && std::strncmp(there, "0x", 2) == 0);
}

[[maybe_unused]] const bool universe_placed =
    threads_here() == 1 && universe != nullptr && universe_is_unsaid() && putenv(universe) == 0;

// Whether the process was started without staging: then libfabric has read that, whoever asked it first.
bool forbidden_from_the_start() {
  std::ifstream file("/proc/self/environ");
  std::string variable;
  while (std::getline(file, variable, '\0'))
    if (variable == std::string(kStaging) + "=0") return true;
  return false;
}

// `there` says that another user of this process has loaded libfabric, and may have asked it.
std::string why_it_stages(bool there) {
  const std::string advice = std::string(" (start the program with ") + kStaging + "=0)";
  if (forbidden_from_the_start()) return "";
  if (there) return "libfabric was loaded before this library asked for it, and TCP may stage bytes" + advice;
  const char* const now = getenv(kStaging);
  if (now == nullptr) return "this library was loaded beside other threads, so TCP may stage bytes" + advice;
  return std::string(now) == "0" ? "" : "TCP may stage bytes: " + std::string(kStaging) + "=" + now;
}

// Keeps the signal handlers of the process: some providers install their own as soon as libfabric is loaded.
class KeepsSignals {
 public:
  KeepsSignals() {
    for (int signal = 1; signal < NSIG; ++signal) known_[signal] = ::sigaction(signal, nullptr, &before_[signal]) == 0;
  }
  ~KeepsSignals() {
    for (int signal = 1; signal < NSIG; ++signal)
      if (known_[signal]) ::sigaction(signal, &before_[signal], nullptr);
  }
  KeepsSignals(const KeepsSignals&) = delete;
  KeepsSignals& operator=(const KeepsSignals&) = delete;

 private:
  struct sigaction before_[NSIG];
  bool known_[NSIG] = {};
};

Loaded load_libfabric() {
  const KeepsSignals signals;
  Loaded loaded;
  const bool there = dlopen(kLibrary, RTLD_NOW | RTLD_NOLOAD) != nullptr;
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    if (descriptors_left(1) == 0) throw Error(Code::kOutOfMemory, std::string(kLibrary) + ": " + text_of_error(EMFILE));
    loaded.why = reason != nullptr ? reason : std::string(kLibrary) + " cannot be opened";
    return loaded;
  }
  FabricLibrary& calls = loaded.calls;
  SharedLibrary functions{library, kLibrary};
  functions.find("fi_getinfo", calls.getinfo);
  functions.find("fi_freeinfo", calls.freeinfo);
  functions.find("fi_dupinfo", calls.dupinfo);
  functions.find("fi_fabric", calls.fabric);
  functions.find("fi_strerror", calls.strerror);
  functions.find("fi_version", calls.version);
  loaded.why = functions.lacks;
  if (loaded.why.empty()) loaded.stages = why_it_stages(there);
  return loaded;
}

const Loaded& loaded_once() {
  static const Loaded loaded = load_libfabric();
  return loaded;
}

}  // namespace

const FabricLibrary* fabric_library(std::string& why) {
  const Loaded& loaded = loaded_once();
  if (!loaded.why.empty()) why = loaded.why;
  return loaded.why.empty() ? &loaded.calls : nullptr;
}

const FabricLibrary& fabric_library() {
  std::string why;
  const FabricLibrary* const library = fabric_library(why);
  TRANSLOAD_CHECK(library != nullptr);
  return *library;
}

size_t tell_universe(size_t ranks) {
  static std::once_flag once;  // threads may make groups at once, and libfabric reads its environment once
  static size_t told = 0;
  std::call_once(once, [ranks] {
    const char* const there = getenv(kUniverse);
    char* const value = universe == nullptr ? nullptr : universe + std::strlen(kUniverse) + 1;
    told = there == nullptr ? kUniverseUnsaid : std::strtoul(there, nullptr, 0);
    if (value == nullptr || there != value) return;  // the user has set it, or ours could not be placed
    char said[sizeof("0x00000100")];
    std::snprintf(said, sizeof(said), "0x%08x", static_cast<unsigned>(ranks));
    std::memcpy(value, said, sizeof(said));
    told = ranks;
  });
  return told;
}

const std::string& fabric_stages() { return loaded_once().stages; }

std::string fabric_error(long code) {
  const int error = static_cast<int>(code < 0 ? -code : code);
  return fabric_library().strerror(error) + limit_behind(error);
}

}  // namespace transload
