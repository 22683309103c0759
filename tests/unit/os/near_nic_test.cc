// One NIC for each GPU. The trees are those of machines that exist: two of Amazon EC2, as lstopo recorded them
// (github.com/aws/aws-ofi-nccl, commit a090e25, tests/unit/fixtures/topology/{p4d,p5en}/topology.xml). Taken from there
// are addresses, bridges, processors and the names of RDMA devices; paths are written as /sys has them.
#include "os/near_nic.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace transload {
namespace {

// p4d.24xlarge: 8 A100, 4 EFA. A host bridge has two GPUs and one EFA right below it; two bridges a processor.
PciDevices p4d() {
  PciDevices found;
  const struct {
    const char* bus;
    const char* nic;
    int memory_node;
  } bridges[] = {{"10", "rdmap16s27", 0}, {"20", "rdmap32s27", 0}, {"90", "rdmap144s27", 1}, {"a0", "rdmap160s27", 1}};
  for (const auto& [bus, nic, memory_node] : bridges) {
    const std::string at = std::string("0000:") + bus, root = "pci" + at + "/" + at;
    for (const char* const gpu : {":1c.0", ":1d.0"}) found.gpus.push_back({at + gpu, root + gpu, memory_node});
    found.nics.push_back({nic, root + ":1b.0", memory_node});
  }
  return found;
}

// The second processor of p5en.48xlarge: 4 of its 8 H200, 8 of its 16 EFA. A host bridge has a switch below it with
// two GPUs and four EFAs, each at a port of its own.
PciDevices half_of_p5en() {
  PciDevices found;
  const struct {
    const char *root, *switch_at, *ports;
    const char* nics[4];  // bus, at ports 01.6 to 02.1
    const char* nic_names[4];
    const char* gpus[2];  // bus, at ports 02.2 and 02.3
  } bridges[] = {{"76",
                  "77",
                  "78",
                  {"87", "88", "89", "8a"},
                  {"rdmap135s0", "rdmap136s0", "rdmap137s0", "rdmap138s0"},
                  {"8b", "8c"}},
                 {"8f",
                  "90",
                  "91",
                  {"a0", "a1", "a2", "a3"},
                  {"rdmap160s0", "rdmap161s0", "rdmap162s0", "rdmap163s0"},
                  {"a4", "a5"}}};
  for (const auto& bridge : bridges) {
    const auto below = [&](const std::string& port, const std::string& bus) {
      return "pci0000:" + std::string(bridge.root) + "/0000:" + bridge.root + ":00.0/0000:" + bridge.switch_at +
             ":00.0/0000:" + bridge.ports + ":" + port + "/0000:" + bus + ":00.0";
    };
    const char* const nic_ports[] = {"01.6", "01.7", "02.0", "02.1"};
    for (int i = 0; i < 4; ++i) found.nics.push_back({bridge.nic_names[i], below(nic_ports[i], bridge.nics[i]), 1});
    for (int i = 0; i < 2; ++i)
      found.gpus.push_back(
          {std::string("0000:") + bridge.gpus[i] + ":00.0", below(i == 0 ? "02.2" : "02.3", bridge.gpus[i]), 1});
  }
  return found;
}

std::string told(const std::vector<NearNic>& near) {
  std::string text;
  for (const NearNic& one : near) {
    text += one.gpu.substr(5, 5) + " " + one.nic + " " + std::to_string(one.steps);
    for (const std::string& other : one.as_near) text += " " + other;
    text += "\n";
  }
  return text;
}

TEST(NearNic, OneBelowTheSameBridge) {
  EXPECT_EQ(told(near_nics(p4d())),
            "10:1c rdmap16s27 2\n10:1d rdmap16s27 2\n20:1c rdmap32s27 2\n20:1d rdmap32s27 2\n"
            "90:1c rdmap144s27 2\n90:1d rdmap144s27 2\na0:1c rdmap160s27 2\na0:1d rdmap160s27 2\n");
}

TEST(NearNic, OfSeveralEachGpuHasItsOwn) {
  EXPECT_EQ(told(near_nics(half_of_p5en())),
            "8b:00 rdmap135s0 4 rdmap136s0 rdmap137s0 rdmap138s0\n"
            "8c:00 rdmap136s0 4 rdmap135s0 rdmap137s0 rdmap138s0\n"
            "a4:00 rdmap160s0 4 rdmap161s0 rdmap162s0 rdmap163s0\n"
            "a5:00 rdmap161s0 4 rdmap160s0 rdmap162s0 rdmap163s0\n");
}

// p4d, one of whose EFAs is out.
TEST(NearNic, WithoutOneTheSameProcessorIsNearer) {
  PciDevices devices = p4d();
  devices.nics.erase(devices.nics.begin() + 3);  // of bridge a0
  const std::vector<NearNic> near = near_nics(devices);
  EXPECT_EQ(near[6].nic, "rdmap144s27");
  EXPECT_EQ(near[7].nic, "rdmap144s27");
  EXPECT_TRUE(near[6].as_near.empty());
}

TEST(NearNic, NoneIsNearWhereNoneIs) {
  PciDevices devices = p4d();
  devices.nics.clear();
  for (const NearNic& near : near_nics(devices)) EXPECT_EQ(near.nic, "");
  EXPECT_TRUE(near_nics({{}, half_of_p5en().nics}).empty());
}

// Files as /sys has them, of p4d.
class SysOfP4d : public ::testing::Test {
 protected:
  void SetUp() override {
    namespace fs = std::filesystem;
    root_ = fs::temp_directory_path() / ("near_nic." + std::to_string(getpid()));
    fs::create_directories(root_ / "bus/pci/devices");
    fs::create_directories(root_ / "class/infiniband/rxe0");  // of no NIC
    const PciDevices devices = p4d();
    for (const PciDevice& gpu : devices.gpus) device(gpu, "0x10de", "0x030200", gpu.name);
    for (const PciDevice& nic : devices.nics) {
      const fs::path at = device(nic, "0x1d0f", "0x020000", nic.path.substr(nic.path.rfind('/') + 1));
      fs::create_directories(at / "infiniband" / nic.name);
      fs::create_directory_symlink(at, at / "infiniband" / nic.name / "device");
      fs::create_directory_symlink(at / "infiniband" / nic.name, root_ / "class/infiniband" / nic.name);
    }
    device({"", "pci0000:80/0000:80:1c.0", 1}, "0x10de", "0x068000", "0000:80:1c.0");  // an NVSwitch of it
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::filesystem::path device(const PciDevice& of, const char* vendor, const char* kind, const std::string& address) {
    const std::filesystem::path at = root_ / "devices" / of.path;
    std::filesystem::create_directories(at);
    std::ofstream(at / "vendor") << vendor << "\n";
    std::ofstream(at / "class") << kind << "\n";
    std::ofstream(at / "numa_node") << of.memory_node << "\n";
    std::filesystem::create_directory_symlink(at, root_ / "bus/pci/devices" / address);
    return at;
  }

  std::filesystem::path root_;
};

TEST_F(SysOfP4d, IsRead) {
  const PciDevices found = find_pci_devices(root_.string()), expected = p4d();
  const auto text = [](const std::vector<PciDevice>& list) {
    std::string all;
    for (const PciDevice& one : list) all += one.name + " " + one.path + " " + std::to_string(one.memory_node) + "\n";
    return all;
  };
  EXPECT_EQ(text(found.gpus), text(expected.gpus));
  EXPECT_EQ(text(found.nics), text(expected.nics));
}

TEST_F(SysOfP4d, WithoutSysThereIsNothing) {
  const PciDevices found = find_pci_devices((root_ / "nowhere").string());
  EXPECT_TRUE(found.gpus.empty());
  EXPECT_TRUE(found.nics.empty());
}

}  // namespace
}  // namespace transload
