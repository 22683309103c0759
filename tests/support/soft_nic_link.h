// A link of a rank on a CPU that fills the queues of a NIC itself, as the warps of a GPU do, by the same code
// (channel/nic_queue.h). What a queue has no room for waits in the link, because a rank's thread never does.
#pragma once
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "channel/scaleout.h"
#include "tests/support/soft_nic.h"

namespace transload::test {

class SoftNicLink final : public ScaleOut {
 public:
  // `freed_by_credits`: as between GPUs, no drained word is written, and a call ends once the NIC has all its entries.
  SoftNicLink(SoftNic::Setup setup, bool freed_by_credits);
  // Gives the NIC all that was asked for, as is so when a kernel has ended.
  ~SoftNicLink() override;

  std::string name() const override { return "soft NIC"; }
  char* mapped(uint32_t) const override { return nullptr; }
  bool frees_by_credits() const override { return freed_by_credits_; }
  void put(const Put& put) override;
  void publish(RailWord to, Word count) override { tell(to, count, false); }
  void credit(RailWord to, Word count) override { tell(to, count, true); }
  bool progress() override;
  uint32_t busy_with() const override;
  int wait_fd() const override { return -1; }
  bool may_sleep() override { return true; }
  bool lost(LostPeer& peer) override;

 private:
  struct Drain {
    Word* word;  // null: there is none
    Word count;
    uint64_t least = 0;  // entries of the queue that must be complete
  };
  struct Asked {
    NicEntry entry;
    bool credit;
    Drain drain;
    uint64_t least_turn = 0;  // number of the call of progress() from which it may go
  };
  struct Line {
    SoftNic::Queue* queue;
    std::deque<Asked> asked;  // entries that the NIC does not have yet
    std::deque<Drain> drains;
  };

  Line& line(uint32_t rank, uint32_t queue) { return lines_.at(rank * size_t(queues_) + queue); }
  void tell(const RailWord& to, Word count, bool credit);
  bool give(Line& line);
  bool drain(Line& line);
  void lose(uint32_t rank, const std::string& reason);

  const uint32_t queues_;
  const bool freed_by_credits_;
  const uint32_t late_;
  uint64_t turn_ = 0;
  std::vector<bool> lost_ranks_;
  std::deque<LostPeer> lost_;
  SoftNic nic_;
  SoftNicWriter writer_;
  NicSender<OneLane, SoftNicWriter> sender_;
  std::vector<Line> lines_;  // [rank][queue]
};

}  // namespace transload::test
