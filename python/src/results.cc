// What calls return.
#include "python/src/results.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <utility>

namespace transload::python {

namespace {

ArrayOutput plain(const Tensor& tensor) {
  if (!tensor.given()) return {};
  Extents extents;
  for (int i = 0; i < tensor.ndim; ++i) extents.add(tensor.shape[i]);
  return {tensor, extents};
}

ArrayOutput shaped(const Tensor& tensor, const Extents& like) {
  return tensor.given() ? ArrayOutput(tensor, like.with_last(tensor.columns())) : ArrayOutput();
}

void bind_reports(nb::module_& module) {
  nb::class_<Status>(module, "Status", "Says whether a call that completed did everything that was asked of it.")
      .def_prop_ro("ok", &Status::ok, "Whether it did; `code` is then 'ok'.")
      .def_prop_ro(
          "code", [](const Status& status) { return word_of(status.code); },
          "'ok', 'bad_expert_id' or 'too_many_rows'.")
      .def_ro("message", &Status::message, "A sentence that names what was wrong; empty if `ok`.")
      .def("__repr__", [](const Status& status) {
        return "transload.Status(" + std::string(word_of(status.code)) + (status.ok() ? "" : ": " + status.message) +
               ")";
      });
  nb::class_<DispatchReport>(module, "DispatchReport",
                             "What a dispatch found out. All fields but `call` mean what they mean in its Dispatched.")
      .def_ro("call", &DispatchReport::call, "The number of that dispatch among the calls of the group, from 1.")
      .def_ro("rows", &DispatchReport::rows)
      .def_ro("rows_needed", &DispatchReport::rows_needed)
      .def_ro("expert_counts", &DispatchReport::expert_counts)
      .def_ro("source_rows", &DispatchReport::source_rows)
      .def_ro("scale_out_rows", &DispatchReport::scale_out_rows)
      .def_ro("status", &DispatchReport::status);
  nb::class_<MemoryReport>(module, "MemoryReport", "How many bytes of memory a rank of a group takes.")
      .def_ro("ring_bytes", &MemoryReport::ring_bytes, "Rings, to peers and to other nodes.")
      .def_ro("counter_bytes", &MemoryReport::counter_bytes, "Counters and small tables that ranks share.")
      .def_ro("slab_bytes", &MemoryReport::slab_bytes, "Room for what calls return and for arrays of Group.empty.")
      .def_ro("leased_bytes", &MemoryReport::leased_bytes, "The part of slab_bytes that is in use.")
      .def_ro("private_bytes", &MemoryReport::private_bytes, "Memory that no other rank reaches.")
      .def_ro("host_bytes", &MemoryReport::host_bytes, "Pinned memory of the host, for GPUs; 0 on the CPU.")
      .def_prop_ro(
          "ring_formula", [](const MemoryReport& report) { return report.ring_formula; },
          "How ring_bytes follows from the options of the group, in words.");
  nb::class_<Decision>(module, "Decision", "A choice that the group made, with its reason.")
      .def_ro("what", &Decision::what, "What was to be chosen, such as 'channels' or 'scale-out'.")
      .def_ro("choice", &Decision::choice, "What was chosen.")
      .def_ro("why", &Decision::why, "The reason.")
      .def("__repr__",
           [](const Decision& decision) { return decision.what + ": " + decision.choice + ", " + decision.why; });
}

// An output as a property: of a type that only the caller knows.
template <auto Member, class Result>
nb::any output(Result& result) {
  return nb::borrow<nb::any>((result.*Member).get(*result.library, result.room));
}

}  // namespace

nb::object ArrayOutput::get(const Library& library, const std::shared_ptr<const Room>& room) {
  if (!made_.is_valid()) made_ = tensor_.given() ? wrapped(library, Array(room, tensor_, extents_)) : nb::none();
  return made_;
}

Dispatched dispatched(DispatchOutputs outputs, const Library& library, const Extents& extents, nb::handle out) {
  Dispatched result;
  result.library = &library;
  result.room = std::make_shared<Room>(Room{std::move(outputs.lease), outputs.handle});
  const bool in_ours = out.is_none();
  result.x = in_ours ? plain(outputs.x) : ArrayOutput(first_rows(out, outputs.x.rows()));
  result.scales = plain(outputs.scales);
  result.topk_idx = plain(outputs.topk_idx);
  result.topk_weights = plain(outputs.topk_weights);
  result.source = plain(outputs.source);
  result.rows_on_device = plain(outputs.rows_on_device);
  result.expert_counts_on_device = plain(outputs.expert_counts_on_device);
  result.rows_of_sources_on_device = plain(outputs.rows_of_sources_on_device);
  result.rows = outputs.rows;
  result.rows_needed = outputs.rows_needed;
  result.scale_out_rows = outputs.scale_out_rows;
  result.expert_counts = std::move(outputs.expert_counts);
  result.source_rows = std::move(outputs.source_rows);
  result.routing = std::make_shared<RoutingHandle>(RoutingHandle{std::move(outputs.handle), extents});
  result.landing = outputs.landing;
  result.status = std::move(outputs.status);
  return result;
}

Combined combined(CombineOutputs outputs, const Library& library, const Extents& extents,
                  const std::array<nb::object, 2>& out) {
  Combined result;
  result.library = &library;
  result.room = std::make_shared<Room>(Room{std::move(outputs.lease), nullptr});
  result.x = out[0].is_none() ? shaped(outputs.x, extents) : ArrayOutput(out[0]);
  result.topk_weights = out[1].is_none() ? shaped(outputs.topk_weights, extents) : ArrayOutput(out[1]);
  result.source = outputs.source;
  result.scale_out_rows = outputs.scale_out_rows;
  return result;
}

Counted counted(CountOutputs outputs, const Library& library, const Extents& extents) {
  Counted result;
  result.library = &library;
  result.room = std::make_shared<Room>(Room{std::move(outputs.lease), nullptr});
  result.rank_counts = plain(outputs.rank_counts);
  result.node_counts = plain(outputs.node_counts);
  result.expert_counts = plain(outputs.expert_counts);
  result.token_in_rank = shaped(outputs.token_in_rank, extents);
  result.status = std::move(outputs.status);
  return result;
}

namespace {

void bind_counted(nb::module_& module) {
  nb::class_<Counted>(module, "Counted",
                      "How many tokens of this rank a dispatch would send where. Its arrays are of topk_idx's library, "
                      "in memory of the group.")
      .def_prop_ro("rank_counts", output<&Counted::rank_counts, Counted>,
                   "[ranks] int32: how many tokens chose an expert of each rank; each token counts once.")
      .def_prop_ro("node_counts", output<&Counted::node_counts, Counted>,
                   "[nodes] int32: how many tokens chose an expert of each node; each token counts once.")
      .def_prop_ro("expert_counts", output<&Counted::expert_counts, Counted>,
                   "[experts] int32: how often each expert was chosen; a token may choose one twice.")
      .def_prop_ro("token_in_rank", output<&Counted::token_in_rank, Counted>,
                   "[.., ranks] bool, in the dimensions of topk_idx: whether the token chose an expert of the rank.")
      .def_ro("status", &Counted::status, "Names an id that is out of range, which counted as -1; else it is ok.");
}

}  // namespace

void bind_results(nb::module_& module) {
  bind_reports(module);
  nb::class_<RoutingHandle>(module, "Handle",
                            "The routing of one dispatch, which combines and cached dispatches of the same group take. "
                            "It never changes, and it may be used any number of times.")
      .def("__repr__", [](const RoutingHandle&) { return "transload.Handle()"; });
  nb::class_<Dispatched>(
      module, "Dispatched",
      "What a dispatch brought: M rows of H elements, ordered by source rank, then by source token, each with S "
      "scales\n"
      "and K choices. Its arrays are of x's library, in memory of the group, which is given back once this object and\n"
      "all arrays are dropped. With rows_max, M is rows_max; rows past `rows` then hold nothing, with topk_idx -1.")
      .def_prop_ro("x", output<&Dispatched::x, Dispatched>, "[M, H] of the dtype that was sent: the rows.")
      .def_prop_ro("scales", output<&Dispatched::scales, Dispatched>,
                   "[M, S] of the dtype that was sent, contiguous: the scales of each row. None if none were sent.")
      .def_prop_ro(
          "topk_idx", output<&Dispatched::topk_idx, Dispatched>,
          "[M, K] of the dtype that was sent: the local id of each chosen expert, -1 if another rank owns it.\n"
          "None if the call was given a handle.")
      .def_prop_ro("topk_weights", output<&Dispatched::topk_weights, Dispatched>,
                   "[M, K] float32: the weight of each choice, 0 where topk_idx is -1. None if the call was given a "
                   "handle.")
      .def_prop_ro("source", output<&Dispatched::source, Dispatched>,
                   "[M, 2] int32: the source rank of each row, and the index of its token there. None if the call was\n"
                   "given a handle.")
      .def_prop_ro("rows_on_device", output<&Dispatched::rows_on_device, Dispatched>,
                   "[1] int64: rows_needed, as an array.")
      .def_prop_ro("expert_counts_on_device", output<&Dispatched::expert_counts_on_device, Dispatched>,
                   "[local experts] int64: expert_counts, as an array. None if the call was given a handle.")
      .def_prop_ro("rows_of_sources_on_device", output<&Dispatched::rows_of_sources_on_device, Dispatched>,
                   "[ranks] int64: source_rows, as an array.")
      .def_ro("rows", &Dispatched::rows, "How many rows of x hold something.")
      .def_ro("rows_needed", &Dispatched::rows_needed, "How many rows came, including those that were dropped.")
      .def_ro("scale_out_rows", &Dispatched::scale_out_rows,
              "How many copies of this rank's tokens crossed to other nodes.")
      .def_ro("expert_counts", &Dispatched::expert_counts,
              "How often the rows of x chose each local expert, rounded up to expert_alignment. Empty if the call was\n"
              "given a handle.")
      .def_ro("source_rows", &Dispatched::source_rows,
              "Element r is how many rows of x came from ranks 0 to r; dropped rows do not count.")
      .def_ro("handle", &Dispatched::routing, "The Handle for combines and for cached dispatches.")
      .def_prop_ro(
          "landing", [](const Dispatched& result) { return word_of(result.landing); },
          "How rows were stored: 'direct' or 'ring'.")
      .def_ro("status", &Dispatched::status, "Names an id that was out of range, or says that rows were dropped.");
  nb::class_<Combined>(module, "Combined",
                       "What a combine brought back. Its arrays are of x's library, in memory of the group.")
      .def_prop_ro("x", output<&Combined::x, Combined>,
                   "[.., H] bf16, in the dimensions of what was dispatched: the sum of each token.")
      .def_prop_ro("topk_weights", output<&Combined::topk_weights, Combined>,
                   "[.., K] float32: the sums of topk_weights. None if none were given.")
      .def_prop_ro(
          "source", [](const Combined& result) { return word_of(result.source); },
          "How rows reached the ranks that summed them: 'pull' or 'push'.")
      .def_ro("scale_out_rows", &Combined::scale_out_rows, "How many partial sums came from other nodes.");
  bind_counted(module);
}

}  // namespace transload::python
