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
  nb::class_<Status>(module, "Status", "Whether a call that completed did all that was asked of it.")
      .def_prop_ro("ok", &Status::ok)
      .def_prop_ro(
          "code", [](const Status& status) { return word_of(status.code); },
          "'ok', 'bad_expert_id' or 'too_many_rows'.")
      .def_ro("message", &Status::message)
      .def("__repr__", [](const Status& status) {
        return "transload.Status(" + std::string(word_of(status.code)) + (status.ok() ? "" : ": " + status.message) +
               ")";
      });
  nb::class_<DispatchReport>(module, "DispatchReport", "What the dispatch that made a handle found out.")
      .def_ro("call", &DispatchReport::call)
      .def_ro("rows", &DispatchReport::rows)
      .def_ro("rows_needed", &DispatchReport::rows_needed)
      .def_ro("expert_counts", &DispatchReport::expert_counts)
      .def_ro("source_rows", &DispatchReport::source_rows)
      .def_ro("scale_out_rows", &DispatchReport::scale_out_rows)
      .def_ro("status", &DispatchReport::status);
  nb::class_<MemoryReport>(module, "MemoryReport", "Bytes of this rank.")
      .def_ro("ring_bytes", &MemoryReport::ring_bytes)
      .def_ro("counter_bytes", &MemoryReport::counter_bytes)
      .def_ro("slab_bytes", &MemoryReport::slab_bytes)
      .def_ro("leased_bytes", &MemoryReport::leased_bytes)
      .def_ro("private_bytes", &MemoryReport::private_bytes)
      .def_ro("host_bytes", &MemoryReport::host_bytes)
      .def_prop_ro("ring_formula", [](const MemoryReport& report) { return report.ring_formula; });
  nb::class_<Decision>(module, "Decision", "A choice that the group made, with its reason.")
      .def_ro("what", &Decision::what)
      .def_ro("choice", &Decision::choice)
      .def_ro("why", &Decision::why)
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
                      "How many of this rank's tokens a dispatch would send where. Arrays are of topk_idx's library.")
      .def_prop_ro("rank_counts", output<&Counted::rank_counts, Counted>,
                   "[ranks] int32: tokens that chose an expert of the rank, each once")
      .def_prop_ro("node_counts", output<&Counted::node_counts, Counted>, "[nodes] int32, likewise")
      .def_prop_ro("expert_counts", output<&Counted::expert_counts, Counted>,
                   "[experts] int32: choices, so a token that chose one expert twice counts twice")
      .def_prop_ro("token_in_rank", output<&Counted::token_in_rank, Counted>,
                   "[.., ranks] bool, in the dimensions of topk_idx")
      .def_ro("status", &Counted::status, "whether an id was out of range, which counts as -1");
}

}  // namespace

void bind_results(nb::module_& module) {
  bind_reports(module);
  nb::class_<RoutingHandle>(module, "Handle",
                            "The routing of one dispatch: for combine and for cached dispatches of its group.")
      .def("__repr__", [](const RoutingHandle&) { return "transload.Handle()"; });
  nb::class_<Dispatched>(module, "Dispatched",
                         "What a dispatch brought: M rows, by source rank and source token. Arrays are of x's library.")
      .def_prop_ro("x", output<&Dispatched::x, Dispatched>, "[M, H], of the type of what was given")
      .def_prop_ro("scales", output<&Dispatched::scales, Dispatched>, "[M, S], or None")
      .def_prop_ro("topk_idx", output<&Dispatched::topk_idx, Dispatched>,
                   "[M, K] of the type of the ids given: local expert, -1 where the choice is another rank's. "
                   "None with a handle")
      .def_prop_ro("topk_weights", output<&Dispatched::topk_weights, Dispatched>,
                   "[M, K] float32: 0 where topk_idx is -1. None with a handle")
      .def_prop_ro("source", output<&Dispatched::source, Dispatched>,
                   "[M, 2] int32: source rank, source token. None with a handle")
      .def_prop_ro("rows_on_device", output<&Dispatched::rows_on_device, Dispatched>, "[1] int64: rows_needed")
      .def_prop_ro("expert_counts_on_device", output<&Dispatched::expert_counts_on_device, Dispatched>,
                   "[local experts] int64. None with a handle")
      .def_prop_ro("rows_of_sources_on_device", output<&Dispatched::rows_of_sources_on_device, Dispatched>,
                   "[ranks] int64: source_rows")
      .def_ro("rows", &Dispatched::rows, "rows that x holds")
      .def_ro("rows_needed", &Dispatched::rows_needed, "rows that came, dropped ones included")
      .def_ro("scale_out_rows", &Dispatched::scale_out_rows, "copies of my tokens that crossed to other nodes")
      .def_ro("expert_counts", &Dispatched::expert_counts, "choices of each local expert; empty with a handle")
      .def_ro("source_rows", &Dispatched::source_rows,
              "rows of x that ranks 0 to r sent, at place r; of dropped rows none")
      .def_ro("handle", &Dispatched::routing)
      .def_prop_ro("landing", [](const Dispatched& result) { return word_of(result.landing); })
      .def_ro("status", &Dispatched::status);
  nb::class_<Combined>(module, "Combined", "What a combine brought back. Arrays are of x's library.")
      .def_prop_ro("x", output<&Combined::x, Combined>, "[.., H] bf16, in the dimensions of what was dispatched")
      .def_prop_ro("topk_weights", output<&Combined::topk_weights, Combined>, "[.., K] float32, or None")
      .def_prop_ro("source", [](const Combined& result) { return word_of(result.source); })
      .def_ro("scale_out_rows", &Combined::scale_out_rows, "partial sums received from other nodes");
  bind_counted(module);
}

}  // namespace transload::python
