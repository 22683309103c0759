// What each rank does: dispatch, expert, combine; cached dispatch, expert, combine; the backward pair; each output
// checked.
#pragma once
#include <memory>

#include "cli/check.h"
#include "cli/fault_injection.h"
#include "cli/meeting.h"
#include "cli/page.h"
#include "cli/result.h"
#include "cli/workload.h"

namespace transload::cli {

class Worker {
 public:
  Worker(const Options& options, const Workload& workload, const Bootstrap& bootstrap, const Board& board);
  ~Worker();

  // All iterations, or up to what ended them. The group stays until the worker is destroyed.
  WorkerResult run();
  Group* group() { return group_.get(); }

 private:
  struct Digest;
  // Room that combine may pull from; or memory of this rank's own, to be pushed.
  struct Room {
    Lease lease;
    std::vector<char> own_memory;
    void* data = nullptr;
  };
  struct ExpertRows {
    Room rows;
    Room weights;  // of the backward pass; else none
    uint16_t* data() const { return static_cast<uint16_t*>(rows.data); }
  };

  // My rows as they travel.
  struct Sent {
    std::vector<char> rows;
    std::vector<uint32_t> scales;
  };

  GroupOptions group_options(const Bootstrap& bootstrap) const;
  void make_inputs();
  Sent make_sent(Rows kind) const;
  void give(DispatchInputs& inputs, const Sent& sent) const;
  // False: this was the last one that can be made.
  bool iterate();
  bool forward();
  void again(Call dispatch, Rows kind);
  std::optional<DispatchOutputs> dispatch_first();  // none: it failed for want of room
  std::optional<DispatchOutputs> dispatch_if_room(const DispatchInputs& inputs);
  DispatchOutputs dispatch_cached(Call call, Rows kind);
  CombineOutputs combine(Call call, const ExpertRows& rows, Rows kind);
  void learn(const DispatchOutputs& outputs);
  Room room(size_t bytes);
  ExpertRows expert(const DispatchOutputs& received, Rows kind);
  void dump(const DispatchOutputs& received, const ExpertRows& rows, const CombineOutputs& combined);
  void note_facts();
  template <class F>
  auto timed(Call call, F f);

  const Options& options_;
  const Workload& workload_;
  const Bootstrap bootstrap_;
  const uint32_t rank_;
  Page& page_;
  Checker checker_;
  FaultInjector injector_;
  Meeting meeting_;
  std::unique_ptr<Group> group_;
  WorkerResult result_;

  Sent x_, gradients_;
  std::vector<uint16_t> bias_[2];
  std::vector<uint32_t> experts_;  // mine
  Handle handle_;
  int64_t rows_ = 0;                     // that I received
  int64_t rows_held_ = 0;                // of the tensors that hold them
  std::vector<float> scales_;            // of each received row
  std::vector<float> weight_gradients_;  // [rows_held_, top_k]
  uint64_t iteration_ = 0;               // from 1, warm-up included
  std::unique_ptr<Digest> dispatch_digest_, combine_digest_;
};

}  // namespace transload::cli
