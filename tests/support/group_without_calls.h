// A rank of a group that never gets as far as calls: for tests of how groups are made.
#pragma once
#include <string>

#include "runtime/group_impl.h"

namespace transload::test {

struct GroupWithoutCalls : Group::Impl {
  explicit GroupWithoutCalls(const GroupOptions& options) : state_(options) {}
  RankState& state() override { return state_; }
  DispatchOutputs dispatch(const DispatchInputs&) override { return {}; }
  CombineOutputs combine(const CombineInputs&) override { return {}; }
  void refuse_if_faulted() override {}
  DispatchReport report(const Handle&, const Stream&) override { return {}; }
  MemoryReport memory() const override { return {}; }
  std::string scale_up_name() const override { return ""; }
  std::string scale_out_name() const override { return ""; }

  RankState state_;
};

}  // namespace transload::test
