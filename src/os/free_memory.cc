// Memory that this machine can still give: see free_memory.h.
#include "os/free_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <vector>

#include "os/fork.h"
#include "transload/status.h"

namespace transload {

namespace {

constexpr uint64_t kUnbounded = PTRDIFF_MAX;  // the bound if no file names one: no process can have more

std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (!(file >> value)) return std::nullopt;  // the file does not exist, or says "max"
  return value;
}

// The value after `name` in a file of "name value" lines.
std::optional<uint64_t> field_in(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string key;
    uint64_t value = 0;
    if (words >> key >> value && key == name) return value;
  }
  return std::nullopt;
}

struct CgroupFiles {
  std::string base;  // where the hierarchy is mounted
  const char* limit;
  const char* used;
  const char* reclaimable;  // name in memory.stat of the page cache that is given back under pressure
};

// What is left below the limits of a cgroup and of all its parents. A container may see its own cgroup as the root, at
// which the path that /proc tells does not exist: the walk ends at the mount itself.
uint64_t left_in(const CgroupFiles& files, std::string path) {
  uint64_t least = kUnbounded;
  while (true) {
    const std::string folder = files.base + path;
    const std::optional<uint64_t> limit = number_in(folder + "/" + files.limit);
    const std::optional<uint64_t> used = number_in(folder + "/" + files.used);
    if (limit && used) {
      const uint64_t cache = field_in(folder + "/memory.stat", files.reclaimable).value_or(0);
      const uint64_t held = *used - std::min(*used, cache);
      least = std::min(least, *limit - std::min(*limit, held));
    }
    while (!path.empty() && path.back() == '/') path.pop_back();
    if (path.empty()) return least;
    path.erase(path.rfind('/'));
  }
}

}  // namespace

uint64_t available_bytes(const RoomSources& sources) {
  uint64_t least = kUnbounded;
  if (const auto kib = field_in(sources.root + "/proc/meminfo", "MemAvailable:")) least = *kib * 1024;
  std::ifstream cgroups(sources.root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(cgroups, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    const std::string root = sources.root + "/sys/fs/cgroup";
    if (controllers == ",,") {
      least = std::min(least, left_in({root, "memory.max", "memory.current", "inactive_file"}, path));
    } else if (controllers.find(",memory,") != std::string::npos) {
      least = std::min(
          least,
          left_in({root + "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}, path));
    }
  }
  return least;
}

namespace {

[[noreturn]] void refuse(uint64_t needed, uint64_t available, const std::string& what, const std::string& because) {
  throw Error(Code::kOutOfMemory, what + ": " + std::to_string(needed) + " bytes needed, but only " +
                                      std::to_string(available) + " are available on this machine" + because);
}

// Whole pages of [base, base + bytes) that are backed by memory.
uint64_t touched_bytes(const void* base, uint64_t bytes) {
  const uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  constexpr uint64_t kPagesAtOnce = 1 << 20;
  const uint64_t begin = (reinterpret_cast<uint64_t>(base) + page - 1) / page * page,
                 end = (reinterpret_cast<uint64_t>(base) + bytes) / page * page;
  std::vector<unsigned char> resident;
  uint64_t pages = 0;
  for (uint64_t at = begin; at < end; at += kPagesAtOnce * page) {
    const uint64_t length = std::min(kPagesAtOnce * page, end - at);
    resident.resize(length / page);
    if (::mincore(reinterpret_cast<void*>(at), length, resident.data()) != 0) continue;
    pages += uint64_t(std::count_if(resident.begin(), resident.end(), [](unsigned char p) { return (p & 1) != 0; }));
  }
  return pages * page;
}

struct Promised {
  uint64_t group, bytes;
  std::vector<std::pair<const void*, uint64_t>> places;

  uint64_t untouched() const {
    uint64_t touched = 0;
    for (const auto& [base, length] : places) touched += touched_bytes(base, length);
    return bytes - std::min(bytes, touched);
  }
};

struct Promises {
  std::mutex mutex;
  std::map<uint64_t, Promised> all;
  uint64_t last = 0;

  uint64_t untouched_of_others(uint64_t group) const {
    uint64_t sum = 0;
    for (const auto& [number, promised] : all)
      if (promised.group != group) sum += promised.untouched();
    return sum;
  }
};

Promises& promises() { return one_per_process<Promises>(); }

}  // namespace

void check_room(uint64_t needed, const std::string& what) {
  const uint64_t available = available_bytes();
  if (needed > available) refuse(needed, available, what, "");
}

Promise::Promise(const Ask& ask, const RoomSources& sources) {
  Promises& p = promises();
  const std::lock_guard lock(p.mutex);
  const uint64_t there = available_bytes(sources), taken = p.untouched_of_others(ask.group);
  const uint64_t available = there - std::min(there, taken);
  if (ask.host_bytes > available)
    refuse(ask.host_bytes, available, "group",
           taken == 0 ? "" : ", beside " + std::to_string(taken) + " that other groups of this process were promised");
  number_ = ++p.last;
  p.all[number_] = {ask.group, ask.my_bytes, {}};
}

Promise::~Promise() {
  if (number_ == 0) return;
  Promises& p = promises();
  const std::lock_guard lock(p.mutex);
  p.all.erase(number_);
}

void Promise::lies_at(const void* base, uint64_t bytes) {
  Promises& p = promises();
  const std::lock_guard lock(p.mutex);
  p.all.at(number_).places.emplace_back(base, bytes);
}

uint64_t promised_bytes(uint64_t but_group) {
  Promises& p = promises();
  const std::lock_guard lock(p.mutex);
  return p.untouched_of_others(but_group);
}

}  // namespace transload
