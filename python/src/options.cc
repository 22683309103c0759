// The options of a group. What they point to in C++ (room, functions) is given in group.cc.
#include "python/src/options.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "python/src/lock.h"
#include "runtime/group_options.h"

namespace transload::python {

namespace {

uint64_t element_bytes(nb::handle dtype) {
  const nb::object name_of_type = imported("transload.arrays").attr("name_of_type");
  const nb::object name = called(name_of_type, dtype);
  const DLDataType type = name.is_none() ? DLDataType{} : type_named(nb::cast<std::string>(name));
  if (type.bits < 8) refuse("dtype", shown(dtype), "a type of whole bytes, such as 'bf16' or 'fp8'");
  return type.bits / 8;
}

// A combined row is bf16 whatever the type of a dispatched one.
uint64_t row_bytes(const nb::dict& given) {
  const OptionFacts facts = option_facts("row_bytes_max");
  const uint64_t element = element_bytes(given["dtype"]);
  const auto hidden = whole<uint64_t>("hidden", given["hidden"]);
  const uint64_t unit = facts.unit / element > 0 ? facts.unit / element : 1,
                 most = facts.most / std::max<uint64_t>(element, 2);
  if (hidden == 0 || hidden > most || hidden % unit != 0)
    refuse("hidden", std::to_string(hidden),
           "a multiple of " + std::to_string(unit) + ", at most " + std::to_string(most) + ", with dtype " +
               shown(given["dtype"]));
  const uint64_t bytes = hidden * std::max<uint64_t>(element, 2);
  return bytes;
}

std::vector<uint32_t> owners(nb::handle value) {
  std::vector<uint32_t> all;
  for (const nb::handle owner : nb::iter(value)) all.push_back(whole<uint32_t>("expert_owner", owner));
  return all;
}

bool set_number(GroupOptions& options, const std::string& name, nb::handle value) {
  bool found = false;
  for_each_option(options, [&](const OptionFacts& facts, auto& field) {
    if (facts.name != name) return;
    field = whole<std::remove_reference_t<decltype(field)>>(facts.name, value);
    found = true;
  });
  return found;
}

}  // namespace

uint32_t milliseconds(const char* name, nb::handle seconds) {
  const OptionFacts facts = option_facts("deadline_ms");
  double value = NAN;
  const bool number = nb::try_cast<double>(seconds, value);
  const double ms = std::ceil(value * 1000);
  if (!number || !(ms >= double(facts.least)) || !(ms <= double(facts.most)))
    refuse(name, shown(seconds),
           "seconds, from " + std::to_string(double(facts.least) / 1000).substr(0, 4) + " to " +
               std::to_string(facts.most / 1000));
  return uint32_t(ms);
}

void set_options(GroupOptions& options, const nb::dict& given) {
  options.row_bytes_max = row_bytes(given);
  for (const auto& [key, value] : given) {
    const auto name = nb::cast<std::string>(key);
    if (name == "hidden" || name == "dtype") continue;  // row_bytes() has read these
    if (name == "expert_owner") {
      options.expert_owner = owners(value);
    } else if (name == "deadline_s") {
      options.deadline_ms = milliseconds("deadline_s", value);
    } else if (name == "create_deadline_s") {
      options.create_deadline_ms = milliseconds("create_deadline_s", value);
    } else if (name == "combine_wire") {
      options.combine_wire = choice<CombineWire>("combine_wire", value);
    } else if (name == "scale_out") {
      options.scale_out = choice<ScaleOutChoice>("scale_out", value);
    } else if (name == "provider") {
      options.provider = text_of("provider", value);
    } else if (name == "nic") {
      options.nic = text_of("nic", value);
    } else if (name == "network_memory") {
      options.network_memory = choice<NetworkMemoryChoice>("network_memory", value);
    } else if (!set_number(options, name, value)) {
      refuse(name, shown(value), "an option of a group");
    }
  }
}

void Gatherer::gather(const void* mine, size_t bytes, void* all, uint32_t ranks) const {
  const Locked lock;
  const nb::bytes given(mine, bytes);
  const nb::object answer = called(function_, given);  // the function may wait for other ranks
  const nb::list parts(answer);
  if (parts.size() != ranks)
    refuse("all_gather", "it gave " + std::to_string(parts.size()) + " parts",
           "a function that gives " + std::to_string(ranks) + ", one for each rank");
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    const nb::handle part = parts[rank];
    if (!nb::isinstance<nb::bytes>(part) || nb::len(part) != bytes)
      refuse("all_gather", "of rank " + std::to_string(rank) + " it gave " + shown(part),
             "a function that gives the " + std::to_string(bytes) + " bytes that this rank put in");
    std::memcpy(static_cast<char*>(all) + rank * bytes, nb::borrow<nb::bytes>(part).data(), bytes);
  }
}

}  // namespace transload::python
