// Loading libnvshmem_host.so.3.
#include "transport/scaleout/nvshmem/library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "os/shared_library.h"

namespace transload {
namespace {

constexpr int kVersion[] = {3, 4, 5};

std::string text_of(const int (&version)[3]) {
  return std::to_string(version[0]) + "." + std::to_string(version[1]) + "." + std::to_string(version[2]);
}

struct LoadedNvshmem {
  NvshmemLibrary calls{};
  std::string why;
};

LoadedNvshmem load_nvshmem() {
  LoadedNvshmem loaded;
  void* const library = dlopen(nvshmem_path().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    loaded.why = std::string(reason != nullptr ? reason : "it cannot be opened") +
                 " (NVSHMEM 3.4.5 is needed; TRANSLOAD_NVSHMEM may say where libnvshmem_host.so.3 is)";
    return loaded;
  }
  NvshmemLibrary& calls = loaded.calls;
  SharedLibrary functions{library, nvshmem_path()};
  functions.find("nvshmemx_vendor_get_version_info", calls.version);
  functions.find("nvshmemx_get_uniqueid", calls.get_id);
  functions.find("nvshmemx_set_attr_uniqueid_args", calls.set_id);
  functions.find("nvshmemx_hostlib_init_attr", calls.init);
  functions.find("nvshmemx_init_status", calls.status);
  functions.find("nvshmem_my_pe", calls.my_pe);
  functions.find("nvshmem_n_pes", calls.pes);
  functions.find("nvshmem_malloc", calls.allocate);
  functions.find("nvshmem_ptr", calls.reach);
  functions.find("nvshmemx_cumodule_init", calls.show_to);
  loaded.why = functions.lacks;
  if (!loaded.why.empty()) return loaded;
  int found[3] = {};
  calls.version(&found[0], &found[1], &found[2]);
  const std::string needed = text_of(kVersion);
  if (text_of(found) != needed)
    loaded.why = nvshmem_path() + " is NVSHMEM " + text_of(found) + ", must be " + needed +
                 ": its structures differ from version to version";
  return loaded;
}

}  // namespace

std::string nvshmem_path() {
  const char* const given = getenv("TRANSLOAD_NVSHMEM");
  return given != nullptr && given[0] != 0 ? given : "libnvshmem_host.so.3";
}

const NvshmemLibrary* nvshmem_library(std::string& why) {
  static const LoadedNvshmem loaded = load_nvshmem();
  if (!loaded.why.empty()) why = loaded.why;
  return loaded.why.empty() ? &loaded.calls : nullptr;
}

bool nvshmem_available(uint32_t, std::string& why) { return nvshmem_library(why) != nullptr; }

}  // namespace transload
