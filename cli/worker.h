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

  GroupOptions group_options(const Bootstrap& bootstrap) const;
  void make_inputs();
  void iterate();
  void forward();
  void again(Call dispatch, Rows kind);
  DispatchOutputs dispatch_first();
  DispatchOutputs dispatch_cached(Call call, Rows kind);
  CombineOutputs combine(Call call, const ExpertRows& rows, Rows kind);
  void learn(const DispatchOutputs& outputs);
  Room room(size_t bytes);
  ExpertRows expert(const Tensor& x, Rows kind);
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

  std::vector<uint16_t> x_, gradients_, bias_[2];
  std::vector<uint32_t> experts_;  // mine
  Handle handle_;
  int64_t rows_ = 0;                     // that I received
  std::vector<float> scales_;            // of each received row
  std::vector<float> weight_gradients_;  // [rows_, top_k]
  uint64_t iteration_ = 0;               // from 1, warm-up included
  std::unique_ptr<Digest> dispatch_digest_, combine_digest_;
};

}  // namespace transload::cli
