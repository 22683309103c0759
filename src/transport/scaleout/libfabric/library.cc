// Loading libfabric.so.1.
#include "transport/scaleout/libfabric/library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/check.h"

namespace transload {
namespace {

struct Loaded {
  FabricLibrary calls{};
  bool complete = false;
  std::string why;
};

template <class Function>
bool find(void* library, const char* name, Function& function, std::string& why) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) why = std::string("libfabric.so.1 has no ") + name;
  return function != nullptr;
}

// A write that is complete must need no more of its sender, who may leave its call and wait for others. TCP's provider
// calls bytes complete that it has only staged, and these leave with its next progress.
void forbid_staging() { setenv("FI_TCP_STAGING_SBUF_SIZE", "0", 0); }

Loaded load() {
  Loaded loaded;
  forbid_staging();
  void* const library = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    loaded.why = reason != nullptr ? reason : "libfabric.so.1 cannot be opened";
    return loaded;
  }
  FabricLibrary& calls = loaded.calls;
  loaded.complete = find(library, "fi_getinfo", calls.getinfo, loaded.why) &&
                    find(library, "fi_freeinfo", calls.freeinfo, loaded.why) &&
                    find(library, "fi_dupinfo", calls.dupinfo, loaded.why) &&
                    find(library, "fi_fabric", calls.fabric, loaded.why) &&
                    find(library, "fi_strerror", calls.strerror, loaded.why);
  return loaded;
}

}  // namespace

const FabricLibrary* fabric_library(std::string& why) {
  static const Loaded loaded = load();
  if (!loaded.complete) why = loaded.why;
  return loaded.complete ? &loaded.calls : nullptr;
}

const FabricLibrary& fabric_library() {
  std::string why;
  const FabricLibrary* const library = fabric_library(why);
  TRANSLOAD_CHECK(library != nullptr);
  return *library;
}

std::string fabric_error(long code) { return fabric_library().strerror(static_cast<int>(code < 0 ? -code : code)); }

}  // namespace transload
