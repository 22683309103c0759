// A rank of a Group as the caller of a program: tensors go where the group is, and come back for the host to read.
#pragma once
#include <transload/group.h>

#include "sim/world/caller.h"
#include "tests/support/side.h"

namespace transload::test {

class GroupCaller final : public Caller {
 public:
  GroupCaller(Group& group, TensorHome& side) : group_(group), side_(side) {}
  uint32_t rank() const override { return group_.rank(); }
  DispatchOutputs dispatch(const DispatchInputs& given) override;
  CombineOutputs combine(const CombineInputs& given) override;
  ExpertRoom room(size_t bytes, bool leased) override;

 private:
  bool on_gpu() const { return side_.device().device_type == kDLCUDA; }
  Tensor give(const Tensor& host);
  Tensor in_room(const Tensor& host) const;

  Group& group_;
  TensorHome& side_;
  // The latest room: where the program writes, and where the group reads.
  char* room_here_ = nullptr;
  char* room_there_ = nullptr;
  size_t room_bytes_ = 0;
};

}  // namespace transload::test
