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

// Null if it is missing; `why` then says what is. Loaded once, never unloaded: providers keep threads and handlers.
// Throws Error{kOutOfMemory} if there is no descriptor to load it by: then it may be there next time.
const FabricLibrary* fabric_library(std::string& why);

// The library, for callers behind a successful fabric_library().
const FabricLibrary& fabric_library();

// Why TCP's provider may call bytes complete that it has only staged, and that leave with its next progress; "" if it
// does not. A write that is complete must need no more of its sender, who may leave its call and wait for others: then
// only completions on delivery are to be relied on.
const std::string& fabric_stages();

// Says for how many ranks providers are to size their tables and queues, unless the user has: FI_UNIVERSE_SIZE, which
// libfabric reads once, when a process first asks it. For its own default, 256, the layers over verbs want a longer
// queue of completions than some devices have. Returns for how many it was told, by whomever.
size_t tell_universe(size_t ranks);

struct FreeInfo {
  void operator()(fi_info* info) const { fabric_library().freeinfo(info); }
};
using InfoPtr = std::unique_ptr<fi_info, FreeInfo>;

// libfabric's text for a negative return code, with the limit of descriptors if it is the reason.
std::string fabric_error(long code);

}  // namespace transload
