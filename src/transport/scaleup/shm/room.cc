// Room on this machine: see room.h.
#include "transport/scaleup/shm/room.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "transload/status.h"

namespace transload {

namespace {

constexpr uint64_t kUnbounded = ~uint64_t(0);

std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (!(file >> value)) return std::nullopt;  // not there, or "max"
  return value;
}

// The value behind `name` in a file of "name value" lines.
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
  const char* reclaimable;  // page cache that is given back under pressure, in memory.stat
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

void check_room(uint64_t needed, const std::string& what) {
  const uint64_t available = available_bytes();
  if (needed <= available) return;
  throw Error(Code::kOutOfMemory, what + ": " + std::to_string(needed) + " bytes needed, but only " +
                                      std::to_string(available) + " are available on this machine");
}

}  // namespace transload
