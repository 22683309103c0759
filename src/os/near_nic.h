// Which NIC is near which GPU: by the tree of PCI bridges, as /sys shows it to anybody.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace transload {

struct PciDevice {
  std::string name;     // a NIC's name as an RDMA device, such as mlx5_0; a GPU's domain:bus:device.function
  std::string path;     // path from the host bridge down to the device, such as pci0000:10/0000:10:1c.0
  int memory_node = 0;  // NUMA node of the processor that the device is attached to
};

struct PciDevices {
  std::vector<PciDevice> gpus, nics;  // both lists are sorted by path
};

// NVIDIA's GPUs and the RDMA devices of this host. `sys`: where /sys is. What has no place in the tree is left out.
PciDevices find_pci_devices(const std::string& sys = "/sys");

struct NearNic {
  std::string gpu;
  std::string nic;                   // the nearest NIC; "": this host has none
  uint32_t steps = 0;                // steps through the tree, up from the GPU and down to the NIC
  std::vector<std::string> as_near;  // other NICs at the same distance
};

// One NIC for each GPU, in their order: the nearest, and of several that are as near the one with the fewest GPUs so
// far. So all processes of a host that see the same devices choose alike.
std::vector<NearNic> near_nics(const PciDevices& devices);

}  // namespace transload
