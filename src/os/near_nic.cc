// Reading /sys, and measuring ways through the tree.
#include "os/near_nic.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>
#include <tuple>
#include <utility>

namespace transload {
namespace {

namespace fs = std::filesystem;

std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    found.push_back(at->path());
  return found;
}

// Adds the device that `link` leads to, if it hangs below a host bridge.
void add(std::vector<PciDevice>& list, std::string name, const fs::path& link) {
  std::error_code error;
  const std::string path = fs::canonical(link, error).string();
  const size_t bridge = error ? std::string::npos : path.find("/pci");
  if (bridge == std::string::npos) return;
  const std::string node = line_of(link / "numa_node");
  PciDevice device{std::move(name), path.substr(bridge + 1), 0};
  std::from_chars(node.data(), node.data() + node.size(), device.memory_node);
  list.push_back(device);
}

bool is_gpu(const fs::path& device) {
  const std::string kind = line_of(device / "class");
  return line_of(device / "vendor") == "0x10de" && (kind == "0x030000" || kind == "0x030200");
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(path)) parts.push_back(part.string());
  return parts;
}

// A shorter way is nearer: first it counts whether a host bridge is shared, then whether a processor is, then the
// steps.
using Way = std::tuple<bool, bool, uint32_t>;

Way way_between(const PciDevice& one, const PciDevice& other) {
  const std::vector<std::string> a = parts_of(one.path), b = parts_of(other.path);
  const auto apart = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto steps = uint32_t((a.end() - apart.first) + (b.end() - apart.second));
  return {apart.first == a.begin(), one.memory_node != other.memory_node, steps};
}

}  // namespace

PciDevices find_pci_devices(const std::string& sys) {
  PciDevices found;
  for (const fs::path& device : entries_of(fs::path(sys) / "bus/pci/devices"))
    if (is_gpu(device)) add(found.gpus, device.filename().string(), device);
  for (const fs::path& nic : entries_of(fs::path(sys) / "class/infiniband"))
    add(found.nics, nic.filename().string(), nic / "device");
  for (std::vector<PciDevice>* const list : {&found.gpus, &found.nics})
    std::sort(list->begin(), list->end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return found;
}

std::vector<NearNic> near_nics(const PciDevices& devices) {
  std::vector<NearNic> near;
  std::map<std::string, uint32_t> gpus_of;
  for (const PciDevice& gpu : devices.gpus) {
    NearNic& mine = near.emplace_back();
    mine.gpu = gpu.name;
    if (devices.nics.empty()) continue;
    Way least = way_between(gpu, devices.nics[0]);
    for (const PciDevice& nic : devices.nics) least = std::min(least, way_between(gpu, nic));
    for (const PciDevice& nic : devices.nics)
      if (way_between(gpu, nic) == least) mine.as_near.push_back(nic.name);
    const auto fewest = std::min_element(mine.as_near.begin(), mine.as_near.end(),
                                         [&](const auto& a, const auto& b) { return gpus_of[a] < gpus_of[b]; });
    mine.nic = *fewest;
    mine.steps = std::get<uint32_t>(least);
    mine.as_near.erase(fewest);
    ++gpus_of[mine.nic];
  }
  return near;
}

}  // namespace transload
