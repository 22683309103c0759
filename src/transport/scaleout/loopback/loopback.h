// Scale-out through memory that every rank maps: several nodes on one machine, without a network.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "channel/scaleout.h"

namespace transload {

// Warps store to mapped(rank) directly; put and publish are here so that loopback keeps the whole contract of a
// network.
class LoopbackLink : public ScaleOut {
 public:
  // The network region of every rank as this process sees it; null where it is not mapped (and then never put to).
  explicit LoopbackLink(std::vector<char*> bases_by_rank, std::string name = "loopback")
      : bases_(std::move(bases_by_rank)), name_(std::move(name)) {}

  std::string name() const override { return name_; }
  char* mapped(uint32_t rank) const override { return rank < bases_.size() ? bases_[rank] : nullptr; }
  void put(const Put& put) override;
  void publish(RailWord to, Word count) override;
  bool progress() override { return false; }
  uint32_t busy_with() const override { return kNobody; }
  int wait_fd() const override { return -1; }
  bool arrives_silently() const override { return false; }  // a warp that stores to a rail rings the far rank's bell
  bool may_sleep() override { return true; }
  bool lost(LostPeer&) override { return false; }

 private:
  std::vector<char*> bases_;
  std::string name_;
};

}  // namespace transload
