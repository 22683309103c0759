// What each rank does: dispatch, expert, combine; cached dispatch, expert, combine; the backward pair; each output
// checked.
#pragma once
#include <functional>
#include <memory>

#include "cli/run/check.h"
#include "cli/run/fault_injection.h"
#include "cli/run/meeting.h"
#include "cli/run/result.h"
#include "cli/run/status_page.h"
#include "cli/run/tensor_home.h"
#include "cli/run/workload.h"

namespace transload::cli {

class Worker {
 public:
  Worker(const Options& options, const Workload& workload, const Bootstrap& bootstrap, const StatusBoard& board);
  ~Worker();

  // Makes all iterations, or those up to what ended them. The group stays until the worker is destroyed.
  WorkerResult run();
  Group* group() { return group_.get(); }

 private:
  struct Digest;
  // Room for rows of experts: a lease, which combine may pull from, or OwnMemory.
  struct RowsRoom {
    Lease lease;
    void* there = nullptr;  // the address that the group gets
    void* here = nullptr;   // the address that the host writes to
  };
  // Memory that no peer can reach, so combine pushes what lies there.
  struct OwnMemory {
    void* data = nullptr;
    size_t bytes = 0;
  };
  struct ExpertRows {
    RowsRoom rows;
    RowsRoom weights;  // only in the backward pass
    uint16_t* data() const { return static_cast<uint16_t*>(rows.here); }
  };

  // My rows as they travel.
  struct TravellingRows {
    std::vector<char> rows;
    std::vector<uint32_t> scales;
    Tensor rows_there, scales_there;
  };

  // The calls of --graph, and what they were captured with.
  struct Replayed {
    std::function<void()> dispatch, combine;
    DispatchOutputs dispatched;
    CombineOutputs combined;
    Lease rows;
  };

  int64_t rows_expected() const;  // rows that the tensors for received rows must hold
  GroupOptions group_options(const Bootstrap& bootstrap) const;
  size_t home_bytes_needed() const;
  void make_inputs();
  TravellingRows make_sent(RowKind kind) const;
  void give(DispatchInputs& inputs, const TravellingRows& sent) const;
  void turn();
  // Makes an iteration. False if no other can be made after it.
  bool iterate();
  bool forward();
  void again(IterationCall dispatch, RowKind kind);
  std::optional<DispatchOutputs> dispatch_first();  // none: the dispatch failed because room was short
  std::optional<DispatchOutputs> dispatch_if_room(const DispatchInputs& inputs);
  DispatchOutputs dispatch_now(const DispatchInputs& inputs);
  CombineOutputs combine_now(IterationCall call, const CombineInputs& inputs);
  bool replays(IterationCall call) const { return options_.graph && (call == kFirstDispatch || call == kCombine); }
  void finish();
  // These bring outputs to where the host reads them. If `given` is moved in, the result keeps its lease.
  DispatchOutputs seen(const DispatchOutputs& given);
  CombineOutputs seen(const CombineOutputs& given);
  DispatchOutputs seen(DispatchOutputs&& given);
  CombineOutputs seen(CombineOutputs&& given);
  bool host_is_told() const { return !options_.cuda || options_.rows_max == 0; }
  DispatchOutputs dispatch_cached(IterationCall call, RowKind kind);
  CombineOutputs combine(IterationCall call, const ExpertRows& rows, RowKind kind);
  void learn(const DispatchOutputs& outputs);
  RowsRoom room(OwnMemory& own, size_t bytes, Lease* kept);
  ExpertRows expert(const DispatchOutputs& received, RowKind kind, IterationCall next);
  void dump(const DispatchOutputs& received, const ExpertRows& rows, const CombineOutputs& combined);
  void note_facts();
  template <class F>
  auto timed(IterationCall call, F f);

  const Options& options_;
  const Workload& original_;
  std::unique_ptr<Workload> turned_;  // with --graph: the workload of this iteration
  const Workload* workload_;          // original_ or *turned_
  const Bootstrap bootstrap_;
  const uint32_t rank_;
  StatusPage& page_;
  ResultChecker checker_;
  FaultInjector injector_;
  Meeting meeting_;
  std::unique_ptr<TensorHome> home_;
  std::unique_ptr<Group> group_;
  Replayed replayed_;
  WorkerResult result_;

  TravellingRows x_, gradients_;
  std::vector<uint16_t> bias_[2];
  Tensor bias_there_[2], ids_there_, weights_there_;
  OwnMemory own_rows_, own_weights_;  // rows of experts where combine pushes
  std::vector<uint32_t> experts_;     // ids of this rank's experts
  Handle handle_;
  int64_t rows_ = 0;                     // rows that this rank received
  int64_t rows_held_ = 0;                // rows that the tensors for received rows hold
  std::vector<float> scales_;            // a scale for each received row
  std::vector<float> weight_gradients_;  // [rows_held_, top_k]
  uint64_t iteration_ = 0;               // counted from 1, warm-up included
  std::unique_ptr<Digest> dispatch_digest_, combine_digest_;
};

}  // namespace transload::cli
