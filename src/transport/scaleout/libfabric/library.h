// The few real symbols of libfabric, found when first needed: the program neither links it nor needs it to start.
#pragma once
#include <rdma/fabric.h>

#include <cstddef>
#include <memory>
#include <string>

namespace transload {

struct FabricLibrary {
  decltype(&fi_getinfo) getinfo;
  decltype(&fi_freeinfo) freeinfo;
  decltype(&fi_dupinfo) dupinfo;
  decltype(&fi_fabric) fabric;
  decltype(&fi_strerror) strerror;
  decltype(&fi_version) version;
};

// Null if libfabric cannot be used; `why` then says why. It is loaded once and never unloaded, because providers keep
// threads and handlers. Throws Error{kOutOfMemory} if no descriptor is left to load it by; a later call tries again.
const FabricLibrary* fabric_library(std::string& why);

// The library, for callers to whom fabric_library() has succeeded.
const FabricLibrary& fabric_library();

// Why TCP's provider may call a write complete whose bytes it has only staged, and sends with its next progress; "" if
// it does not. A sender whose writes are complete may leave its call, so where bytes are staged only completions on
// delivery can be relied on.
const std::string& fabric_stages();

// Sets FI_UNIVERSE_SIZE, for how many ranks providers size their tables and queues, unless the user has set it.
// libfabric reads it once, when a process first asks it for anything. With libfabric's default, 256, the layers over
// verbs want a longer queue of completions than some devices have. Returns the size that holds, whoever set it.
size_t tell_universe(size_t ranks);

struct FreeInfo {
  void operator()(fi_info* info) const { fabric_library().freeinfo(info); }
};
using InfoPtr = std::unique_ptr<fi_info, FreeInfo>;

// libfabric's text for a negative return code, with the limit of descriptors if it is the reason.
std::string fabric_error(long code);

}  // namespace transload
