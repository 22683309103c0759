// A group as Python has it: see group.h.
#include "python/src/group.h"

#include <unistd.h>

#include <string_view>
#include <utility>

#include "base/type_names.h"
#include "python/src/lock.h"
#include "python/src/options.h"

namespace transload::python {

namespace {

// Refuses a stream, because groups of Python's have no GPUs yet.
void refuse_stream(nb::handle stream) {
  if (!stream.is_none())
    throw Error(Code::kNotSupported,
                "stream: " + shown(stream) + ", must be None: on the CPU a call is done when it returns");
}

// Refuses a number of processors (SMs), which only calls on GPUs take.
void refuse_sms(nb::handle sms) {
  if (whole<uint32_t>("sms", sms) != 0)
    throw Error(Code::kNotSupported, "sms: " + shown(sms) + ", must be 0 on the CPU");
}

// Throws what the caller itself finds wrong with its call, if it gives that.
void throw_refused(nb::handle given) {
  if (given.is_none()) return;
  const nb::object errors = imported("transload.errors");
  constexpr std::pair<const char*, Code> kinds[] = {{"InvalidArgument", Code::kInvalidArgument},
                                                    {"NotSupported", Code::kNotSupported}};
  for (const auto& [name, code] : kinds)
    if (nb::isinstance(given, errors.attr(name))) throw Error(code, text_of(given));
  refuse("refused", shown(given), "an InvalidArgument or a NotSupported");
}

const RoutingHandle& routing_of(nb::handle handle) {
  const RoutingHandle* routing = nullptr;
  if (!nb::try_cast(handle, routing) || routing == nullptr) refuse("handle", shown(handle), "that of a dispatch");
  return *routing;
}

// The library has other names for what Python calls `out`.
Error in_words_of_python(const Error& error) {
  if (error.code() != Code::kInvalidArgument) return error;
  constexpr std::pair<std::string_view, std::string_view> names[] = {{"out_x", "out"}, {"out_topk_weights", "out[1]"}};
  std::string message = error.what();
  for (const auto& [theirs, ours] : names)
    for (size_t at = message.find(theirs); at != std::string::npos; at = message.find(theirs, at + ours.size()))
      message.replace(at, theirs.size(), ours);
  return {error.code(), message};
}

// An argument that is one array or a pair of them.
std::array<nb::object, 2> one_or_two(const char* name, nb::handle given) {
  if (!nb::isinstance<nb::tuple>(given) && !nb::isinstance<nb::list>(given)) return {nb::borrow(given), nb::none()};
  if (nb::len(given) != 2) refuse(name, std::to_string(nb::len(given)) + " of them", "one or a pair");
  return {given[0], given[1]};
}

// Checks memory for the rows of a dispatch, of which the first are to become an array of the caller's library.
void check_out_of_dispatch(const Argument& out, nb::handle object, const Tensor& x) {
  if (!out.given() || !x.given()) return;
  const Tensor memory = out.matrix();
  if (memory.device.device_type != kDLCPU) return;  // the library refuses it
  if (out.extents().count != 2) refuse("out", std::to_string(out.extents().count) + " dimensions", "of 2");
  if (!same_type(memory.dtype, x.dtype)) refuse("out", type_name(memory.dtype), type_name(x.dtype) + ", as x");
  try {
    (void)first_rows(object, 0);
  } catch (const nb::python_error&) {
    refuse("out", "a " + nb::cast<std::string>(object.type().attr("__name__")),
           "an array that can be sliced, such as a memoryview of it");
  }
}

// Makes a dispatch without a handle, which all ranks refuse if one does.
template <class Dispatch>
DispatchOutputs refused_alike(Dispatch dispatch) {
  try {
    return dispatch();
  } catch (const Error& error) {
    if (error.code() != Code::kInvalidArgument && error.code() != Code::kNotSupported) throw;
    throw RefusedAlike(error);
  }
}

uint32_t deadline_of(nb::handle seconds) { return seconds.is_none() ? 0 : milliseconds("deadline_s", seconds); }

}  // namespace

// One thread's use of a group, from begin to end. Taken and given back under Python's lock.
class PythonGroup::Turn {
 public:
  Turn(PythonGroup& group, const char* operation) : group_(group) {
    if (const char* const other = group.operation_; other != nullptr) {
      if (group.pid_ != getpid())
        refuse(operation, "called in a fork of the process that made the group", "called in that one");
      refuse(operation, std::string("the group is in ") + other + " of another thread",
             "called by one thread at a time");
    }
    if (!group.group_) refuse(operation, "the group is closed", "called before it is");
    group.operation_ = operation;
  }
  ~Turn() { group_.operation_ = nullptr; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  PythonGroup& group_;
};

// Makes a call with Python's lock free. If the handler of a signal has raised, that is raised instead of the outcome.
template <class Call>
auto PythonGroup::unlocked(Call call) {
  try {
    auto result = [&] {
      const Unlocked unlock;
      return call();
    }();
    interruption_->raise();
    return result;
  } catch (const Error& error) {
    interruption_->raise();
    throw in_words_of_python(error);
  }
}

PythonGroup::PythonGroup(const Bootstrap& bootstrap, const std::vector<uint32_t>& nodes, const nb::dict& options,
                         nb::object all_gather)
    : interruption_(std::make_shared<Interruption>()), nodes_(nodes), pid_(getpid()) {
  GroupOptions all;
  set_options(all, options);
  all.bootstrap = bootstrap;
  all.topology.node_sizes = nodes;
  std::shared_ptr<Gatherer> gatherer;
  if (!all_gather.is_none()) {
    gatherer = std::make_shared<Gatherer>(std::move(all_gather));
    all.bootstrap.all_gather = [gatherer, ranks = bootstrap.ranks](const void* mine, size_t bytes, void* every) {
      gatherer->gather(mine, bytes, every, ranks);
    };
  }
  all.interrupted = [interruption = interruption_] { return interruption->asked(); };
  group_ = unlocked([&] { return std::make_unique<Group>(all); });
  if (gatherer) gatherer->let_go();
  rank_ = bootstrap.rank;
  ranks_ = bootstrap.ranks;
  experts_ = all.experts;
}

// Peers may be threads of this process, and need the lock to come to an end.
PythonGroup::~PythonGroup() {
  {
    const Unlocked unlock;
    group_.reset();
  }
  interruption_->report("a group of Transload, while it was freed");
}

void PythonGroup::close() {
  if (!group_) return;
  std::unique_ptr<Group> last;
  if (pid_ == getpid()) {
    const Turn turn(*this, "close");
    last = std::move(group_);
  } else {
    last = std::move(group_);  // in a copy nobody else is in a call
  }
  {
    const Unlocked unlock;
    last.reset();
  }
  interruption_->raise();
}

// What a dispatch is given, held until it is over. Throws Error for what is wrong with it.
struct PythonGroup::DispatchArguments {
  explicit DispatchArguments(const DispatchRequest& call)
      : x("x", call.x),
        topk_idx("topk_idx", call.topk_idx),
        topk_weights("topk_weights", call.topk_weights),
        scales("scales", call.scales),
        out("out", call.out, Argument::Use::kWrite) {}
  DispatchInputs inputs(const DispatchRequest& call) const;

  Argument x, topk_idx, topk_weights, scales, out;
};

DispatchInputs PythonGroup::DispatchArguments::inputs(const DispatchRequest& call) const {
  DispatchInputs in;
  in.x = x.matrix();
  in.topk_idx = topk_idx.matrix();
  if (same_type(in.topk_idx.dtype, kI64)) in.idx_type = kI64;  // ids come out in the type that they go in with
  in.topk_weights = topk_weights.matrix();
  in.scales = scales.matrix();
  in.out_x = out.matrix();
  check_out_of_dispatch(out, call.out, in.x);
  if (!call.handle.is_none()) in.handle = routing_of(call.handle).handle;
  in.expert_alignment = whole<uint32_t>("expert_alignment", call.expert_alignment);
  in.rows_max = whole<int64_t>("rows_max", call.rows_max);
  in.overflow = choice<Overflow>("overflow", call.overflow);
  in.landing = choice<Landing>("landing", call.landing);
  in.channels = whole<uint32_t>("channels", call.channels);
  in.deadline_ms = deadline_of(call.deadline_s);
  refuse_sms(call.sms);
  refuse_stream(call.stream);
  return in;
}

Dispatched PythonGroup::dispatch(const DispatchRequest& call) {
  const Turn turn(*this, "dispatch");
  std::optional<DispatchArguments> arguments;
  DispatchInputs in;
  std::optional<nb::python_error> raised;  // what nobody handles, such as KeyboardInterrupt
  try {
    throw_refused(call.refused);
    in = arguments.emplace(call).inputs(call);
  } catch (const Error& error) {
    if (!call.handle.is_none()) throw;
    in.refused = error;
  } catch (const nb::python_error& error) {
    if (!call.handle.is_none()) throw;
    if (!error.matches(PyExc_Exception)) raised.emplace(error);
    in.refused = Error(Code::kInvalidArgument,
                       "dispatch: an argument that raises " + summary_of(error) + ", must be one that does not");
  }
  try {
    const auto make = [&] { return unlocked([&] { return group_->dispatch(in); }); };
    DispatchOutputs outputs = in.handle ? make() : refused_alike(make);
    return dispatched(std::move(outputs), library_of(call.x), arguments->x.extents(), call.out);
  } catch (const Error& error) {
    if (raised && error.code() == Code::kInvalidArgument) throw nb::python_error(*raised);
    throw;
  }
}

Combined PythonGroup::combine(const CombineRequest& call) {
  const Turn turn(*this, "combine");
  const RoutingHandle& routing = routing_of(call.handle);
  const std::array<nb::object, 2> biases = one_or_two("bias", call.bias), outs = one_or_two("out", call.out);
  const Argument x("x", call.x), topk_weights("topk_weights", call.topk_weights), bias0("bias[0]", biases[0]),
      bias1("bias[1]", biases[1]), out("out", outs[0], Argument::Use::kWrite),
      out_weights("out[1]", outs[1], Argument::Use::kWrite);
  CombineInputs in;
  in.x = x.matrix();
  in.handle = routing.handle;
  in.topk_weights = topk_weights.matrix();
  in.bias[0] = bias0.matrix();
  in.bias[1] = bias1.matrix();
  in.out_x = out.matrix();
  in.out_topk_weights = out_weights.matrix();
  in.source = choice<CombineSource>("source", call.source);
  in.wire = choice<CombineWire>("wire", call.wire);
  in.channels = whole<uint32_t>("channels", call.channels);
  in.deadline_ms = deadline_of(call.deadline_s);
  refuse_sms(call.sms);
  refuse_stream(call.stream);
  CombineOutputs outputs = unlocked([&] { return group_->combine(in); });
  return combined(std::move(outputs), library_of(call.x), routing.extents, outs);
}

void PythonGroup::wait(nb::handle stream) {
  const Turn turn(*this, "wait");
  refuse_stream(stream);
  unlocked([&] {
    group_->wait();
    return true;
  });
}

DispatchReport PythonGroup::report(nb::handle handle) {
  const Turn turn(*this, "report");
  const Handle held = routing_of(handle).handle;
  return unlocked([&] { return group_->report(held); });
}

std::vector<std::string> PythonGroup::gather(nb::handle text) {
  const Turn turn(*this, "gather");
  const std::string mine(text_of("text", text));
  return unlocked([&] { return group_->gather(mine); });
}

// Python's lock is kept, so nobody closes the group meanwhile.
Counted PythonGroup::count(nb::handle topk_idx) {
  const Argument ids("topk_idx", topk_idx);
  const Tensor tensor = ids.matrix();
  if (!group_) refuse("count", "the group is closed", "called before it is");
  return counted(group_->count(tensor), library_of(topk_idx), ids.extents());
}

nb::any PythonGroup::empty(nb::handle shape, nb::handle dtype) {
  const Turn turn(*this, "empty");
  const nb::object arrays = imported("transload.arrays");
  const nb::object name_of_type = arrays.attr("name_of_type"), library_of_type = arrays.attr("library_of_type");
  const nb::object name = called(name_of_type, dtype);
  const DLDataType type = name.is_none() ? DLDataType{} : type_named(nb::cast<std::string>(name));
  if (type.bits < 8) refuse("dtype", shown(dtype), "a type of whole bytes, such as 'bf16'");
  Extents extents;
  const nb::tuple sizes =
      nb::isinstance<nb::tuple>(shape) || nb::isinstance<nb::list>(shape) ? nb::tuple(shape) : nb::make_tuple(shape);
  if (nb::len(sizes) > kDimensionsMax || nb::len(sizes) == 0)
    refuse("shape", shown(shape), "of 1 to " + std::to_string(kDimensionsMax) + " dimensions");
  constexpr int64_t most = int64_t(1) << 46;
  int64_t bytes = type.bits / 8;
  for (const nb::handle size : sizes) {
    extents.add(whole("shape", size, 0, most));
    if (__builtin_mul_overflow(bytes, extents.each[extents.count - 1], &bytes) || bytes > most)
      refuse("shape", shown(shape), "of at most " + std::to_string(most) + " bytes");
  }
  Lease lease = unlocked([&] { return group_->lease(size_t(bytes)); });
  const Tensor tensor{.data = lease.data(), .dtype = type, .ndim = 1};
  auto room = std::make_shared<Room>(Room{std::move(lease), nullptr});
  const Library library = library_told(called(library_of_type, dtype));
  return nb::borrow<nb::any>(wrapped(library, Array(std::move(room), tensor, extents)));
}

MemoryReport PythonGroup::memory() {
  const Turn turn(*this, "memory");
  return group_->memory();
}
std::vector<Decision> PythonGroup::decisions() {
  const Turn turn(*this, "decisions");
  return group_->decisions();
}
std::vector<uint32_t> PythonGroup::local_experts() {
  const Turn turn(*this, "local_experts");
  return group_->local_experts();
}

}  // namespace transload::python
