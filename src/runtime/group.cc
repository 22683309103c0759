// The face of a group, and how its ranks meet.
#include "runtime/group_impl.h"

#include "layout/regions.h"
#include "transport/scaleup/shm/host.h"

namespace transload {

namespace {

// The options that must be alike, as text that a mismatch can quote.
std::vector<std::string> fingerprint(const GroupOptions& o) {
  std::vector<std::string> items{"layout version " + std::to_string(kLayoutVersion)};
  auto add = [&](const std::string& name, uint64_t value) { items.push_back(name + " " + std::to_string(value)); };
  std::string sizes = "topology.node_sizes";
  for (uint32_t s : o.topology.node_sizes) sizes += " " + std::to_string(s);
  items.push_back(sizes);
  add("experts", o.experts);
  uint64_t owners = 1469598103934665603u;  // FNV-1a over the owner table
  for (uint32_t r : o.expert_owner) owners = (owners ^ r) * 1099511628211u;
  add("expert_owner (hash)", owners);
  add("tokens_max", o.tokens_max);
  add("row_bytes_max", o.row_bytes_max);
  add("scales_max", o.scales_max);
  add("top_k_max", o.top_k_max);
  add("channels", o.channels);
  add("slots", o.slots);
  add("peer_slots", o.peer_slots);
  add("deadline_ms", o.deadline_ms);
  add("scale_out", uint64_t(o.scale_out));
  add("device type", uint64_t(o.device.device_type));
  add("sms", o.sms);
  items.push_back("provider " + o.provider);
  return items;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += item + "\n";
  return text;
}

std::string first_difference(const std::string& mine, const std::string& other) {
  size_t begin = 0;
  while (begin < mine.size()) {
    const size_t end = mine.find('\n', begin);
    if (other.compare(begin, end - begin + 1, mine, begin, end - begin + 1) != 0)
      return mine.substr(begin, end - begin) + ", elsewhere " + other.substr(begin, other.find('\n', begin) - begin);
    begin = end + 1;
  }
  return "";
}

std::unique_ptr<Group::Impl> make_group(const GroupOptions& options) {
  if (options.device.device_type == kDLCPU) return make_host_group(options);
  if (options.device.device_type != kDLCUDA)
    throw Error(Code::kInvalidArgument, "device: type " + std::to_string(options.device.device_type) +
                                            ", must be the CPU (1) or a CUDA GPU (2)");
#ifdef TRANSLOAD_CUDA
  return make_cuda_group(options);
#else
  throw Error(Code::kNotSupported, "device: cuda, but this build has no CUDA");
#endif
}

}  // namespace

void Group::Impl::meet() {
  const GroupOptions& options = plan().options;
  const RankMap& map = plan().map;
  control = std::make_unique<Control>(options.bootstrap, options.deadline_ms,
                                      std::vector<uint32_t>(map.node_of, map.node_of + map.ranks));
  const std::string mine = joined(fingerprint(options));
  const std::vector<std::string> all = control->gather(mine);
  for (uint32_t r = 1; r < map.ranks; ++r)
    if (all[r] != all[0])
      throw Error(Code::kInvalidArgument, "options: rank 0 has " + first_difference(all[0], all[r]) + " on rank " +
                                              std::to_string(r) + "; must be alike");
}

// A step that may fail on one rank: then all ranks throw what the lowest of them says.
void Group::Impl::all_or_none(const std::function<void()>& step) {
  std::string mine;
  try {
    step();
  } catch (const Error& error) {
    mine = std::string(1, char(error.code())) + error.what();
  }
  const std::vector<std::string> all = control->gather(mine);
  for (uint32_t r = 0; r < plan().map.ranks; ++r)
    if (!all[r].empty())
      throw Error(Code(all[r][0]),
                  all[r].substr(1) + (plan().map.ranks > 1 ? " (rank " + std::to_string(r) + ")" : ""));
}

uint64_t Group::Impl::sum_on_host(uint64_t mine) {
  uint64_t sum = 0;
  for (const std::string& other : control->gather(std::to_string(mine) + " " + host_identity()))
    if (const size_t space = other.find(' '); other.substr(space + 1) == host_identity())
      sum += std::stoull(other.substr(0, space));
  return sum;
}

Group::Group(const GroupOptions& options) : impl_(make_group(options)) {}
Group::~Group() = default;
uint32_t Group::rank() const { return impl_->plan().map.me; }
const GroupOptions& Group::options() const { return impl_->plan().options; }
DispatchOutputs Group::dispatch(const DispatchInputs& inputs) {
  impl_->refuse_if_faulted();
  return impl_->dispatch(inputs);
}
CombineOutputs Group::combine(const CombineInputs& inputs) {
  impl_->refuse_if_faulted();
  return impl_->combine(inputs);
}
Lease Group::lease(size_t bytes) { return impl_->plan().lease(bytes); }
std::vector<Decision> Group::decisions() const { return impl_->plan().decisions; }
std::vector<std::string> Group::gather(const std::string& mine) {
  impl_->refuse_if_faulted();
  return impl_->control->gather(mine, "gather");
}

void Group::wait(const Stream& stream) {
  impl_->refuse_if_faulted();
  impl_->wait(stream);
}

DispatchReport Group::report(const Handle& handle, const Stream& stream) {
  impl_->refuse_if_faulted();
  return impl_->report(handle, stream);
}

std::vector<uint32_t> Group::local_experts() const {
  std::vector<uint32_t> mine;
  const Placement& experts = impl_->plan().experts;
  for (uint32_t e = 0; e < experts.experts; ++e)
    if (experts.owner[e] == impl_->plan().map.me) mine.push_back(e);
  return mine;
}

MemoryReport Group::memory() const { return impl_->memory(); }
std::string Group::scale_up_name() const { return impl_->scale_up_name(); }
std::string Group::scale_out_name() const { return impl_->scale_out_name(); }

}  // namespace transload
