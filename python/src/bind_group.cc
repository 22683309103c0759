// The methods of a group, with their arguments.
#include <utility>

#include <nanobind/stl/vector.h>

#include "python/src/group.h"

namespace transload::python {

namespace {

constexpr const char* kDispatch =
    "Sends tokens to the ranks that own their experts. Collective: every rank makes this call.\n\n"
    "x: [.., H], any dtype, contiguous: rows, each a multiple of 16 bytes; all dimensions but the last count as "
    "tokens\n"
    "topk_idx: [.., K] int32 or int64: the experts that each token chose, by global id; -1 is no choice\n"
    "topk_weights: [.., K] float32: the weight of each choice\n"
    "scales: [.., S] of a 4-byte dtype, any strides: they travel with the rows\n"
    "handle: the handle of an earlier dispatch, whose routing is used again; without topk_idx and topk_weights\n"
    "expert_alignment: expert_counts are rounded up to a multiple of this\n"
    "rows_max: how many rows the outputs have room for, however many come; 0: as many as come\n"
    "overflow: what happens if more than rows_max rows come: 'fail' raises TooManyRows, 'drop' leaves out the last\n"
    "landing: 'direct': peers store rows into the output; 'ring': rows pass a ring first; 'auto': direct if possible\n"
    "out: [>= M, H] of x's dtype, contiguous: memory of the caller for the rows; the result's x is its first M rows\n"
    "channels: how many channels the call uses; 0: as many as the group has\n"
    "sms, stream: for GPUs; on the CPU they must be 0 and None\n"
    "deadline_s: how many seconds each wait of the call may take; None: as many as the group's\n"
    "refused: an InvalidArgument or NotSupported that the caller found itself: every rank raises it, and none sends\n\n"
    "Returns a Dispatched. Its arrays are in memory of the group, except x if `out` is given. Raises InvalidArgument,\n"
    "NotSupported, OutOfMemory or TooManyRows, after which the group is usable, or Fault, after which it is lost.";
constexpr const char* kCombine =
    "Brings the experts' rows back to the ranks of their tokens and sums them. Collective: every rank makes this\n"
    "call.\n\n"
    "x: [M, H] bf16, contiguous: one row for each row of the dispatch, in the same order\n"
    "handle: the handle of that dispatch\n"
    "topk_weights: [M, K] float32, contiguous: they are summed for each token as well; they do not scale x\n"
    "bias: [.., H] bf16, contiguous, or a pair of such: the sum of a token begins with them\n"
    "source: 'pull': peers read x in place, which must be memory of Group.empty; 'push': rows pass rings;\n"
    "    'auto': pull if possible\n"
    "wire: the dtype of partial sums between nodes: 'bf16', or 'fp32' in a group whose combine_wire is 'fp32'\n"
    "out: [.., H] bf16, contiguous: memory of the caller for the sums; or a pair: that, and [.., K] float32 for the\n"
    "    sums of topk_weights\n"
    "channels, sms, stream, deadline_s: as in dispatch\n\n"
    "Returns a Combined. Its arrays are in memory of the group, except those in `out`. Raises InvalidArgument,\n"
    "NotSupported or OutOfMemory, after which the group is usable, or Fault, after which it is lost.";
constexpr const char* kEmpty =
    "Returns an array in memory that peers read in place, so that a combine of it can pull. It is not initialised.\n\n"
    "shape: a whole number or a tuple of them; dtype: a name such as 'bf16' or 'fp8', or a dtype of NumPy or torch\n\n"
    "The array is torch's for a dtype of torch; else it is NumPy's, or a transload.Array if NumPy is not installed.\n"
    "Its memory is the group's, and is given back once the array is dropped. If `slab_bytes` has no room for it, it\n"
    "lies in private memory, which a combine pushes. Raises OutOfMemory if there is no private memory either.";
constexpr const char* kCount =
    "Counts how many tokens a dispatch of topk_idx would send where, without sending any. Returns a Counted.\n\n"
    "topk_idx: [.., K] int32 or int64, contiguous: the experts that each token chose, by global id; -1 is no choice\n\n"
    "It is not collective and waits for nobody. Any thread may use it, even while another is in a call of the group.";
constexpr const char* kClose =
    "Frees the group. It waits, at most the deadline, until peers have taken what this rank sent them. It is not\n"
    "collective: one thread may close several ranks of its process, one after the other.";

using Group_ = nb::class_<PythonGroup>;

void bind_dispatch(Group_& group) {
  group.def(
      "dispatch",
      [](PythonGroup& self, nb::handle x, nb::handle topk_idx, nb::handle topk_weights, nb::handle scales,
         nb::handle handle, nb::handle expert_alignment, nb::handle rows_max, nb::handle overflow, nb::handle landing,
         nb::handle out, nb::handle channels, nb::handle sms, nb::handle stream, nb::handle deadline_s,
         nb::handle refused) {
        return self.dispatch({.x = x,
                              .topk_idx = topk_idx,
                              .topk_weights = topk_weights,
                              .scales = scales,
                              .handle = handle,
                              .expert_alignment = expert_alignment,
                              .rows_max = rows_max,
                              .overflow = overflow,
                              .landing = landing,
                              .out = out,
                              .channels = channels,
                              .sms = sms,
                              .stream = stream,
                              .deadline_s = deadline_s,
                              .refused = refused});
      },
      nb::arg("x").none(), nb::arg("topk_idx").none() = nb::none(), nb::arg("topk_weights").none() = nb::none(),
      nb::kw_only(), nb::arg("scales").none() = nb::none(), nb::arg("handle").none() = nb::none(),
      nb::arg("expert_alignment").none() = 1, nb::arg("rows_max").none() = 0, nb::arg("overflow").none() = "fail",
      nb::arg("landing").none() = "auto", nb::arg("out").none() = nb::none(), nb::arg("channels").none() = 0,
      nb::arg("sms").none() = 0, nb::arg("stream").none() = nb::none(), nb::arg("deadline_s").none() = nb::none(),
      nb::arg("refused").none() = nb::none(), kDispatch);
}

void bind_combine(Group_& group) {
  group.def(
      "combine",
      [](PythonGroup& self, nb::handle x, nb::handle handle, nb::handle topk_weights, nb::handle bias,
         nb::handle source, nb::handle wire, nb::handle out, nb::handle channels, nb::handle sms, nb::handle stream,
         nb::handle deadline_s) {
        return self.combine({.x = x,
                             .handle = handle,
                             .topk_weights = topk_weights,
                             .bias = bias,
                             .source = source,
                             .wire = wire,
                             .out = out,
                             .channels = channels,
                             .sms = sms,
                             .stream = stream,
                             .deadline_s = deadline_s});
      },
      nb::arg("x").none(), nb::arg("handle").none(), nb::kw_only(), nb::arg("topk_weights").none() = nb::none(),
      nb::arg("bias").none() = nb::none(), nb::arg("source").none() = "auto", nb::arg("wire").none() = "bf16",
      nb::arg("out").none() = nb::none(), nb::arg("channels").none() = 0, nb::arg("sms").none() = 0,
      nb::arg("stream").none() = nb::none(), nb::arg("deadline_s").none() = nb::none(), kCombine);
}

}  // namespace

void bind_group(nb::module_& module) {
  Group_ group(module, "Group", "The native part of transload.Group, which documents it.");
  group
      .def(
          "__init__",
          [](PythonGroup* self, const Bootstrap& bootstrap, const std::vector<uint32_t>& nodes, const nb::dict& options,
             nb::object all_gather) { new (self) PythonGroup(bootstrap, nodes, options, std::move(all_gather)); },
          nb::arg("bootstrap"), nb::arg("nodes"), nb::arg("options"), nb::arg("all_gather").none())
      .def("wait", &PythonGroup::wait, nb::arg("stream").none() = nb::none(),
           "Waits for the calls that were put on `stream`, and raises the Fault that ended one of them. On the CPU\n"
           "calls are done when they return, so it waits for nothing, and `stream` must be None.")
      .def(
          "check", [](PythonGroup& self) { self.wait(nb::none()); },
          "Raises the Fault that ended the group, if one is known. It waits for nothing.")
      .def("report", &PythonGroup::report, nb::arg("handle").none(),
           "Returns the DispatchReport of the dispatch that made `handle`.")
      .def("gather", &PythonGroup::gather, nb::arg("text").none(),
           "Returns the `text` (a str) of every rank as a list, by rank. Collective: every rank makes this call.")
      .def("empty", &PythonGroup::empty, nb::arg("shape").none(), nb::arg("dtype").none() = "bf16", kEmpty)
      .def("count", &PythonGroup::count, nb::arg("topk_idx").none(), kCount)
      .def("memory", &PythonGroup::memory, "Returns a MemoryReport: how many bytes of memory this rank takes.")
      .def("decisions", &PythonGroup::decisions,
           "Returns a list of Decision: what the group chose where it was free to, and why.")
      .def("local_experts", &PythonGroup::local_experts,
           "Returns the global ids of the experts that this rank owns, ascending.")
      .def("close", &PythonGroup::close, kClose)
      .def_prop_ro("closed", &PythonGroup::closed, "Whether the group has been closed.")
      .def_prop_ro("rank", &PythonGroup::rank, "The number of this rank, from 0.")
      .def_prop_ro("ranks", &PythonGroup::ranks, "How many ranks the group has.")
      .def_prop_ro("experts", &PythonGroup::experts, "How many experts all ranks together have.")
      .def_prop_ro(
          "nodes", [](const PythonGroup& self) { return nb::tuple(nb::cast(self.nodes())); },
          "How many ranks each node has.")
      .def_prop_ro(
          "device", [](const PythonGroup&) { return "cpu"; }, "Where the arrays of calls are: always 'cpu'.");
  bind_dispatch(group);
  bind_combine(group);
}

}  // namespace transload::python
