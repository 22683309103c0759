// What calls return: arrays of the caller's library, each made when it is first looked at.
#pragma once
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "python/src/array.h"
#include "transload/group.h"

namespace transload::python {

// A handle of C++, and the dimensions of the x that was dispatched, which its combines give back.
struct RoutingHandle {
  Handle handle;
  Extents extents;
};

// One output, in the dimensions that it is shown with.
class ArrayOutput {
 public:
  ArrayOutput() = default;
  ArrayOutput(const Tensor& tensor, const Extents& extents) : tensor_(tensor), extents_(extents) {}
  // An output that is the caller's own array, or a part of it.
  explicit ArrayOutput(nb::object made) : made_(std::move(made)) {}

  // None: the call has no such output.
  nb::object get(const Library& library, const std::shared_ptr<const Room>& room);

 private:
  Tensor tensor_;
  Extents extents_;
  nb::object made_;
};

struct Dispatched {
  const Library* library = nullptr;
  std::shared_ptr<const Room> room;
  ArrayOutput x, scales, topk_idx, topk_weights, source, rows_on_device, expert_counts_on_device,
      rows_of_sources_on_device;
  int64_t rows = 0, rows_needed = 0, scale_out_rows = 0;
  std::vector<int64_t> expert_counts, source_rows;
  std::shared_ptr<RoutingHandle> routing;
  Landing landing = Landing::kAuto;
  Status status;
};

struct Combined {
  const Library* library = nullptr;
  std::shared_ptr<const Room> room;
  ArrayOutput x, topk_weights;
  CombineSource source = CombineSource::kAuto;
  int64_t scale_out_rows = 0;
};

struct Counted {
  const Library* library = nullptr;
  std::shared_ptr<const Room> room;
  ArrayOutput rank_counts, node_counts, expert_counts, token_in_rank;
  Status status;
};

// What a call returned, moved into what Python gets. `out`: the caller's memory for x, and for topk_weights, or None.
Dispatched dispatched(DispatchOutputs outputs, const Library& library, const Extents& extents, nb::handle out);
Combined combined(CombineOutputs outputs, const Library& library, const Extents& extents,
                  const std::array<nb::object, 2>& out);
Counted counted(CountOutputs outputs, const Library& library, const Extents& extents);

void bind_results(nb::module_& module);

}  // namespace transload::python
