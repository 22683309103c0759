// The few calls of NVSHMEM's host library, found when first needed: the program neither links it nor needs it to start
// or to be built. So its structures are declared here, as version 3.4.5 has them, and no other version is taken.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

struct CUmod_st;

namespace transload {

// What each structure of NVSHMEM begins with: the version of its form, and its length in bytes.
constexpr int nvshmem_head(size_t bytes) { return int((1 << 16) + bytes); }

// The id of a world, by which its processes find each other.
struct NvshmemId {
  int head = nvshmem_head(128);
  char bytes[124] = {};
};
static_assert(sizeof(NvshmemId) == 128);

struct NvshmemIdArgs {
  int head = nvshmem_head(24);
  const NvshmemId* id = nullptr;
  int rank = -1, ranks = -1;
};
static_assert(sizeof(NvshmemIdArgs) == 24);

struct NvshmemStart {
  int head = nvshmem_head(144);
  void* mpi = nullptr;
  int args_head = nvshmem_head(128);
  NvshmemIdArgs by_id;
  char room[96] = {};
};
static_assert(sizeof(NvshmemStart) == 144 && offsetof(NvshmemStart, by_id) == 24);

struct NvshmemLibrary {
  static constexpr unsigned kById = 1 << 3;  // flag for init: the world is given by an id
  static constexpr int kInitialized = 2;     // the least status of a process that can use it
  void (*version)(int* major, int* minor, int* patch);
  int (*get_id)(NvshmemId* id);
  int (*set_id)(int rank, int ranks, const NvshmemId* id, NvshmemStart* start);
  // Collective over the world, like `allocate`: both wait for all its processes, without a deadline.
  int (*init)(unsigned flags, NvshmemStart* start);
  int (*status)();
  int (*my_pe)();
  int (*pes)();
  void* (*allocate)(size_t bytes);           // allocates as much on every PE; null: the heap has no room
  void* (*reach)(const void* mine, int pe);  // where that PE's memory is mapped here; null: nowhere
  int (*show_to)(CUmod_st* module);          // fills the states of a module of kernels, now and when they change
};

// The beginning of a message about something that NVSHMEM refuses.
constexpr const char* kOfNvshmem = "scale_out: nvshmem: ";

// What people and records are told that the network is, if NVSHMEM maps all rails.
constexpr const char* kNvshmemName = "nvshmem, peer memory";

// The library's own file: where TRANSLOAD_NVSHMEM says, or by name where the loader finds it.
std::string nvshmem_path();

// Null if the library is missing or of another version; `why` then says so. Loaded once, never unloaded.
const NvshmemLibrary* nvshmem_library(std::string& why);

// What ScaleOutKind::available says of NVSHMEM.
bool nvshmem_available(uint32_t ranks, std::string& why);

}  // namespace transload
