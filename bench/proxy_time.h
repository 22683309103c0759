// How much processor time the proxies of this process have taken.
#pragma once
#include <dirent.h>

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

namespace transload {

// Nanoseconds that all threads of proxies together have run so far.
inline uint64_t proxies_ran_ns() {
  uint64_t sum = 0;
  DIR* const tasks = opendir("/proc/self/task");
  if (tasks == nullptr) throw std::runtime_error("/proc/self/task cannot be read");
  while (const dirent* const task = readdir(tasks)) {
    const std::string folder = std::string("/proc/self/task/") + task->d_name;
    std::string name;
    std::getline(std::ifstream(folder + "/comm"), name);
    uint64_t ran = 0;
    if (name == "transload-proxy" && std::ifstream(folder + "/schedstat") >> ran) sum += ran;
  }
  closedir(tasks);
  if (sum == 0) throw std::runtime_error("/proc/self/task/*/schedstat: not there");
  return sum;
}

}  // namespace transload
