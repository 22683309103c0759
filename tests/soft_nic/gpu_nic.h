// A soft NIC whose queues the warps of a GPU fill: by the constants of NVSHMEM's header, as those of a real NIC. All
// ranks are of one process, and their network regions lie in pinned memory, where the thread that is the NIC reaches
// them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "gpu/device_block.h"
#include "runtime/network/scale_out_kinds.h"
#include "tests/support/soft_nic.h"

namespace transload::test {

class GpuNic final : public NicQueues {
 public:
  // Collective: the regions of the others are found by what they say.
  static std::unique_ptr<GpuNic> open(GroupMaking& group, const NetworkPlace& place, const SoftNicSettings& settings);
  // What was rung for is executed; then nobody writes to the region any more.
  ~GpuNic() override;

  std::string name() const override { return "soft NIC"; }
  char* region() const override { return place_.region; }
  const std::vector<uint32_t>& pes() const override { return pes_; }
  uint32_t first_queue() const override { return 0; }
  void show_to(CUmod_st* module) override;
  bool lost(LostPeer& peer) override;

 private:
  GpuNic(int device, const NetworkPlace& place);
  void start(SoftNic::Setup setup);
  void fill_tables();

  const int device_;
  const NetworkPlace place_;
  uint64_t region_ = 0;  // by which others find it
  std::vector<uint32_t> pes_;
  uint32_t count_ = 0;      // of numbers taken
  std::vector<bool> told_;  // [ranks] as lost
  PinnedBlock memory_;
  std::unique_ptr<SoftNic> nic_;
};

}  // namespace transload::test
