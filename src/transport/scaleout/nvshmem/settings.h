// The environment variables that NVSHMEM reads when a process first starts it, in one list: values follow from what the
// group needs, unless the user has set them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace transload {

// What the first group of a process that uses NVSHMEM needs.
struct NvshmemNeeds {
  uint64_t channels = 0;
  uint64_t slots = 0;
  uint64_t region_bytes = 0;   // bytes of the network region of a rank
  bool by_queues = false;      // rails are queues of a NIC; false: they are mapped
  std::string interface = "";  // interface of the network by which ranks meet; "": NVSHMEM finds one
};

struct NvshmemSetting {
  const char* name;
  std::string value;           // what we set; "": nothing
  uint64_t least = 0;          // what the user's number must reach; 0: any value will do
  const char* rule;            // where the value comes from, in words
  const char* user = nullptr;  // what the user has set, or null
};

std::vector<NvshmemSetting> nvshmem_settings(const NvshmemNeeds& needs);

// How many bytes of the heap a group takes.
uint64_t nvshmem_block_bytes(const NvshmemNeeds& needs);

// Whether the user wants that no rank's memory is mapped.
bool nvshmem_maps_nothing();

// Why what the user has set will not do, with the variable, its value and the bound; "" if all will.
std::string unfit_setting(const std::vector<NvshmemSetting>& settings);

// What must be alike on all ranks of a world, a line for each.
std::string text_of(const std::vector<NvshmemSetting>& settings);

// Sets the variables that the user has not set.
void set_environment(const std::vector<NvshmemSetting>& settings);

// The interface of an address of this host; "" if no interface has the address.
std::string interface_of(const std::string& address);

// "512M" and the like, as NVSHMEM reads sizes; false if it is no number.
bool size_of_text(std::string_view text, uint64_t& bytes);

}  // namespace transload
