// The methods of a group, with their arguments.
#include <utility>

#include <nanobind/stl/vector.h>

#include "python/src/group.h"

namespace transload::python {

namespace {

constexpr const char* kDispatch =
    "Tokens to the ranks that own their experts. Collective.\n\n"
    "x: [.., H], any type, contiguous, H times its bytes a multiple of 16\n"
    "topk_idx: [.., K] int32 or int64: global experts, -1 for no choice; topk_weights: [.., K] float32\n"
    "scales: [.., S] of 4-byte scalars\n"
    "handle: instead of topk_idx and topk_weights: the routing of an earlier dispatch\n"
    "expert_alignment: expert_counts are rounded up to a multiple of it\n"
    "rows_max: room for so many rows, whatever comes; overflow: 'fail' or 'drop' where more do\n"
    "landing: 'auto', 'direct' or 'ring'\n"
    "out: [>= M, H] of x's type, contiguous: memory for x, of which got.x is then the first M rows\n"
    "channels, deadline_s: of this call\n"
    "refused: an InvalidArgument or a NotSupported, of what the caller finds wrong: the call raises it on all ranks";
constexpr const char* kCombine =
    "The experts' rows back to the ranks that their tokens came from, summed. Collective.\n\n"
    "x: [M, H] bf16, as many rows as the dispatch brought, in its order\n"
    "topk_weights: [M, K] float32, summed too; bias: [.., H] bf16, one or a pair, added first\n"
    "source: 'auto', 'pull' (x lies in memory of g.empty) or 'push'\n"
    "wire: 'bf16' or 'fp32', the type of partial sums between nodes\n"
    "out: [.., H] bf16, contiguous, memory for x; or a pair with [.., K] float32 for topk_weights";

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
  Group_ group(module, "Group");
  group
      .def(
          "__init__",
          [](PythonGroup* self, const Bootstrap& bootstrap, const std::vector<uint32_t>& nodes, const nb::dict& options,
             nb::object all_gather) { new (self) PythonGroup(bootstrap, nodes, options, std::move(all_gather)); },
          nb::arg("bootstrap"), nb::arg("nodes"), nb::arg("options"), nb::arg("all_gather").none())
      .def("wait", &PythonGroup::wait, nb::arg("stream").none() = nb::none(),
           "Raises what went wrong in calls on a stream, once they are done. On the CPU calls are done when they "
           "return.")
      .def(
          "check", [](PythonGroup& self) { self.wait(nb::none()); }, "Raises what is known, and waits for nothing.")
      .def("report", &PythonGroup::report, nb::arg("handle").none(), "What the dispatch that made a handle found out.")
      .def("gather", &PythonGroup::gather, nb::arg("text").none(), "The text of every rank, by rank. Collective.")
      .def("empty", &PythonGroup::empty, nb::arg("shape").none(), nb::arg("dtype").none() = "bf16",
           "An array in memory that peers read in place, so that a combine of it pulls.")
      .def("count", &PythonGroup::count, nb::arg("topk_idx").none(),
           "How many tokens a dispatch of these ids ([.., K] int32 or int64, -1 for no choice) would send where. No "
           "call: any thread may ask, at any time.")
      .def("memory", &PythonGroup::memory, "Bytes of this rank.")
      .def("decisions", &PythonGroup::decisions, "Choices that the group made, with their reasons.")
      .def("local_experts", &PythonGroup::local_experts, "Global ids of this rank's experts, ascending.")
      .def("close", &PythonGroup::close,
           "Frees the group: waits, at most the deadline, until peers have what was sent to them, and leaves. Not "
           "collective: one thread may free ranks of its process one after the other.")
      .def_prop_ro("closed", &PythonGroup::closed)
      .def_prop_ro("rank", &PythonGroup::rank)
      .def_prop_ro("ranks", &PythonGroup::ranks)
      .def_prop_ro("experts", &PythonGroup::experts, "How many experts there are, of all ranks.")
      .def_prop_ro(
          "nodes", [](const PythonGroup& self) { return nb::tuple(nb::cast(self.nodes())); },
          "How many ranks each node has.")
      .def_prop_ro("device", [](const PythonGroup&) { return "cpu"; });
  bind_dispatch(group);
  bind_combine(group);
}

}  // namespace transload::python
