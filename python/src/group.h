// A group as Python has it. One thread uses it at a time, and Python's lock is free while C++ runs.
#pragma once
#include <atomic>
#include <memory>

#include "python/src/interruption.h"
#include "python/src/results.h"
#include "transload/group.h"

namespace transload::python {

// What a dispatch was given, as Python gives it; None: not given.
struct DispatchRequest {
  nb::handle x, topk_idx, topk_weights, scales, handle, expert_alignment, rows_max, overflow, landing, out, channels,
      sms, stream, deadline_s, refused;
};
struct CombineRequest {
  nb::handle x, handle, topk_weights, bias, source, wire, out, channels, sms, stream, deadline_s;
};

class PythonGroup {
 public:
  // all_gather: None, or a function of bytes that returns the bytes of every rank.
  PythonGroup(const Bootstrap& bootstrap, const std::vector<uint32_t>& nodes, const nb::dict& options,
              nb::object all_gather);
  ~PythonGroup();

  Dispatched dispatch(const DispatchRequest& call);
  Combined combine(const CombineRequest& call);
  void wait(nb::handle stream);
  DispatchReport report(nb::handle handle);
  std::vector<std::string> gather(nb::handle text);
  // Any thread may call this, also while another one is in a call.
  Counted count(nb::handle topk_idx);
  nb::any empty(nb::handle shape, nb::handle dtype);
  MemoryReport memory();
  std::vector<Decision> decisions();
  std::vector<uint32_t> local_experts();
  // Frees the group, once. It is not collective, but waits until peers have what was sent to them.
  void close();
  bool closed() const { return !group_; }

  uint32_t rank() const { return rank_; }
  uint32_t ranks() const { return ranks_; }
  uint32_t experts() const { return experts_; }
  const std::vector<uint32_t>& nodes() const { return nodes_; }

 private:
  class Turn;
  struct DispatchArguments;

  template <class Call>
  auto unlocked(Call call);

  std::unique_ptr<Group> group_;
  std::shared_ptr<Interruption> interruption_;   // the group's options have it, too
  std::atomic<const char*> operation_{nullptr};  // the call that a thread is in; null: none
  uint32_t rank_ = 0, ranks_ = 0, experts_ = 0;
  std::vector<uint32_t> nodes_;
  int pid_;  // of the process that made it
};

void bind_group(nb::module_& module);

}  // namespace transload::python
