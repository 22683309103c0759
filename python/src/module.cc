// The module transload._native: what of the library Python sees.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include "gpu/device_info.h"
#include "os/host.h"
#include "python/src/group.h"
#include "python/src/lock.h"
#include "runtime/network/scale_out_kinds.h"
#include "transload/version.h"

namespace transload::python {

namespace {

void bind_bootstrap(nb::module_& module) {
  nb::class_<Rendezvous>(module, "Server", "The native part of transload.Rendezvous, which documents it.")
      .def(
          "__init__",
          [](Rendezvous* self, const std::string& address, uint16_t port, const std::string& secret) {
            const Unlocked unlocked;
            new (self) Rendezvous(address, port, secret);
          },
          nb::arg("address"), nb::arg("port"), nb::arg("secret"))
      .def_prop_ro("port", &Rendezvous::port, "The TCP port on which it listens.");
  nb::class_<Bootstrap>(module, "Bootstrap", "The number of one rank in a group, and where it meets the other ranks.")
      .def(nb::init<>())
      .def_rw("rank", &Bootstrap::rank)
      .def_rw("ranks", &Bootstrap::ranks)
      .def_rw("host", &Bootstrap::host)
      .def_rw("port", &Bootstrap::port)
      .def_rw("serve", &Bootstrap::serve)
      .def_rw("name", &Bootstrap::name)
      .def_rw("job", &Bootstrap::job)
      .def_rw("secret", &Bootstrap::secret)
      .def_rw("local_rank", &Bootstrap::local_rank)
      .def_rw("local_ranks", &Bootstrap::local_ranks)
      .def_ro("origin", &Bootstrap::origin)
      .def_static("from_environment", &Bootstrap::from_environment, nb::arg("launcher") = "")
      .def_static("has_environment", &Bootstrap::has_environment, nb::arg("launcher") = "");
}

void bind_limits(nb::module_& module) {
  nb::class_<Limits>(module, "Limits", "The bounds of this build. What exceeds one raises InvalidArgument.")
      .def_ro("ranks_max", &Limits::ranks_max)
      .def_ro("node_size_max", &Limits::node_size_max)
      .def_ro("nodes_max", &Limits::nodes_max)
      .def_ro("streams_max", &Limits::streams_max)
      .def_ro("top_k_max", &Limits::top_k_max)
      .def_ro("channels_max", &Limits::channels_max)
      .def_ro("slots_max", &Limits::slots_max)
      .def_ro("token_bytes_max", &Limits::token_bytes_max)
      .def_ro("token_bytes_unit", &Limits::token_bytes_unit)
      .def_ro("tokens_max", &Limits::tokens_max);
  module.def("limits", &limits, "Returns the bounds of this build.");
}

// A network that is not there is told with its reason.
nb::dict build_info() {
  nb::dict info, networks;
  info["version"] = version();
  info["compiler"] = __VERSION__;
  for (const ScaleOutKind& kind : scale_out_kinds()) {
    std::string why;
    networks[word_of(kind.choice)] = kind.available(2, why) ? "yes" : "no: " + why;
  }
  info["networks"] = networks;
  info["cuda"] = find_devices().runtime_version != 0;
#ifdef Py_LIMITED_API
  info["stable_abi"] = true;
#else
  info["stable_abi"] = false;
#endif
  return info;
}

}  // namespace

NB_MODULE(_native, module) {
  nb::set_leak_warnings(false);  // a user's module may hold a group until the end
  translate_errors();
  bind_bootstrap(module);
  bind_limits(module);
  bind_array(module);
  bind_results(module);
  bind_group(module);
  module.def("version", &version, "Returns the version of the library, such as '1.2.3'.");
  module.def(
      "has_exchange_table", [](nb::handle type) { return Exchange(type).there(); }, nb::arg("type"),
      "Whether arrays of this type are read and made by DLPack's C exchange table, which is the faster way.");
  module.def(
      "build_info", &build_info,
      "Returns what this build has: 'version', 'compiler', 'cuda' (bool), 'stable_abi' (bool), and 'networks', a\n"
      "dict from each network's name to 'yes', or to 'no: ' and the reason.");
  module.def("host_identity", &host_identity,
             "Returns a text that stands for this host and its network namespace: it is equal on all ranks there.");
  module.def("one_machine", &one_machine, "Whether two texts of host_identity() are from one machine.");
}

}  // namespace transload::python
