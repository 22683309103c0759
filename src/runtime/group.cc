// What every kind of group does: how it is called, and how its ranks meet and leave.
#include "runtime/group_impl.h"

#include <atomic>
#include <cerrno>
#include <new>
#include <set>
#include <system_error>
#include <utility>

#include "base/math.h"
#include "base/mix.h"
#include "channel/card.h"
#include "layout/regions.h"
#include "os/free_memory.h"
#include "os/host.h"
#include "runtime/call/count.h"
#include "runtime/choices.h"
#include "runtime/group_options.h"
#include "runtime/said.h"

namespace transload {

namespace {

// What must be alike, as text that a mismatch can quote: the options, and what this build makes of them.
std::vector<std::string> fingerprint(const RankState& state) {
  const GroupOptions& o = state.options;
  std::vector<std::string> items;
  auto add = [&](const std::string& name, uint64_t value) { items.push_back(name + " " + std::to_string(value)); };
  std::string sizes = "topology.node_sizes";
  for (const uint32_t s : o.topology.node_sizes) sizes += " " + std::to_string(s);
  items.push_back(sizes);
  for_each_option(o, [&](const OptionFacts& facts, uint64_t value) {
    if (facts.alike) add(facts.name, value);
  });
  uint64_t owners = o.expert_owner.size();
  for (const uint32_t rank : o.expert_owner) owners = mixed(owners, rank);
  add("expert_owner", owners);
  items.push_back(std::string("combine_wire ") + word_of(o.combine_wire));
  items.push_back(std::string("scale_out ") + word_of(o.scale_out));
  items.push_back(std::string("network_memory ") + word_of(o.network_memory));
  items.push_back(o.device.device_type == kDLCPU ? "tensors on the CPU" : "tensors on a GPU");
  items.push_back("provider " + o.provider);
  Geometry first = state.geometry;
  first.peers = state.map.node_size(0);
  add("bytes of network regions", state.board.net.bytes);
  add("bytes of scale-up regions of node 0", ScaleUpRegion::plan(first, sizeof(Card), state.grant_bytes()).bytes);
  return items;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += item + "\n";
  return text;
}

// Says the difference in words of the two ranks. Owners are compared by a hash, which would say nothing to people.
std::string text_of(const LinesApart& apart, uint32_t rank) {
  const std::string other = "rank " + std::to_string(rank);
  if (apart.one.rfind("expert_owner ", 0) == 0) return "other owners in expert_owner than " + other;
  return apart.one + ", but " + other + " has " + apart.other;
}

std::unique_ptr<Group::Impl> make_group(const GroupOptions& options) {
  if (options.device.device_type == kDLCPU) return make_host_group(options);
  if (options.device.device_type != kDLCUDA)
    throw Error(Code::kInvalidArgument, "device: type " + std::to_string(options.device.device_type) +
                                            ", must be the CPU (1) or a CUDA GPU (2)");
#ifdef TRANSLOAD_CUDA
  return make_cuda_group(options);
#else
  throw Error(Code::kNotSupported, "device: cuda, must be the CPU: this build has no CUDA");
#endif
}

}  // namespace

void Group::Impl::meet() {
  const GroupOptions& options = state().options;
  const RankMap& map = state().map;
  control = std::make_unique<Control>(
      options.bootstrap, ControlWaits(options.deadline_ms, options.create_deadline_ms, options.interrupted),
      std::vector<uint32_t>(map.node_of, map.node_of + map.ranks));
  if (map.ranks > 1) state().decide("members", control->trust().choice, control->trust().why);
  all_or_none([] { (void)host_identity(); });  // a failure here reaches all ranks; later steps ask again
  const std::string mine = joined(fingerprint(state()));
  const std::vector<OptionsSaid> all = gather(OptionsSaid{state().id, mine}.pack(), OptionsSaid::unpack);
  state().common_id = all[0].id;
  for (uint32_t r = 1; r < map.ranks; ++r)
    if (all[r].items != all[0].items)
      throw Error(Code::kInvalidArgument, "options: rank 0 has " +
                                              text_of(first_difference(all[0].items, all[r].items), r) +
                                              "; must be equal on all ranks");
}

Word Group::Impl::net_word(const Word* at) const {
  return std::atomic_ref<Word>(*const_cast<Word*>(at)).load(std::memory_order_acquire);
}

bool Group::Impl::all_credited(const RailRings& rings, const std::vector<Counterpart>& others, const Word* sent) {
  const RankState& own = state();
  for (uint64_t c = 0; c < own.geometry.channels; ++c)
    for (uint64_t m = 0; m < others.size(); ++m) {
      if (others[m].rank == kNobody || has_taken_all(others[m].rank)) continue;
      if (net_word(own.board.my_net_word(rings.credit.at(c, m))) < sent[c * others.size() + m]) return false;
    }
  return true;
}

// Tells all if this process lacks descriptors for its network, which may not say itself that it could not accept a
// connection. That waits for half of the deadline; after all of it the network would be called unreachable.
void Group::Impl::heed_lack(const ScaleOut* network, double waited_ms) {
  if (network == nullptr) return;
  std::string lack = network->lacks();
  if (lack.empty() && waited_ms * 2 > state().options.create_deadline_ms && descriptors_left(1) == 0)
    lack = network->name() + ": " + text_of_error(EMFILE);
  if (!lack.empty()) control->failed(lack);
}

// Adds what each rank on my host needs (`mine` is my part) and, once for each other process there, what its groups were
// promised before. Promise adds what my own process was promised.
uint64_t Group::Impl::sum_on_host(uint64_t mine) {
  const ProcessIdentity me = process_identity();
  const MemorySaid own{mine, promised_bytes(state().common_id), me, host_identity()};
  std::set<ProcessIdentity> counted{me};
  uint64_t sum = 0;
  for (const MemorySaid& said : gather(own.pack(), MemorySaid::unpack)) {
    if (!one_machine(said.host, own.host)) continue;
    sum = plus(sum, said.needed);
    if (counted.insert(said.process).second) sum = plus(sum, said.promised);
  }
  return sum;
}

Group::Group(const GroupOptions& options) try : impl_(make_group(options)) {
  impl_->control->made();
} catch (const std::bad_alloc&) {
  throw Error(Code::kOutOfMemory, "group: this process has no memory left to make it");
} catch (const std::system_error& error) {  // std::thread throws it
  throw Error(Code::kOutOfMemory, "group: a thread cannot be started: " + text_of_no_thread(error.code().value()));
}

Group::~Group() {
  if (impl_ && !impl_->origin.here()) abandon();
}

void Group::abandon() noexcept {
  if (!impl_) return;
  if (impl_->origin.here()) impl_->say_goodbye();
  try {
    transload::abandon(std::shared_ptr<Impl>(impl_.release(), [](Impl*) {}));
  } catch (const std::bad_alloc&) {  // the log of calls then lacks this group, which works without an entry
  }
}

// Only the process that made a group may use it: what a copy (fork) says would be heard in its name.
Group::Impl& Group::mine(const char* operation) const {
  if (!impl_)
    throw Error(Code::kInvalidArgument, std::string(operation) + ": called on a group that was abandoned, must not be");
  if (!impl_->origin.here())
    throw Error(
        Code::kInvalidArgument,
        std::string(operation) + ": called in a fork of the process that made the group, must be called in that one");
  return *impl_;
}

uint32_t Group::rank() const { return mine("rank").state().map.me; }
const GroupOptions& Group::options() const { return mine("options").state().options; }

DispatchOutputs Group::dispatch(const DispatchInputs& inputs) {
  Impl& impl = mine("dispatch");
  impl.refuse_if_faulted();
  return impl.dispatch(inputs);
}

CombineOutputs Group::combine(const CombineInputs& inputs) {
  Impl& impl = mine("combine");
  impl.refuse_if_faulted();
  return impl.combine(inputs);
}

CountOutputs Group::count(const Tensor& topk_idx) const { return transload::count(mine("count").state(), topk_idx); }
Lease Group::lease(size_t bytes) { return mine("lease").state().lease(bytes); }
std::vector<Decision> Group::decisions() const { return mine("decisions").state().decisions; }

std::vector<std::string> Group::gather(const std::string& text) {
  Impl& impl = mine("gather");
  impl.refuse_if_faulted();
  return impl.control->gather(text, "gather");
}

void Group::wait(const Stream& stream) {
  Impl& impl = mine("wait");
  impl.refuse_if_faulted();
  impl.wait(stream);
}

DispatchReport Group::report(const Handle& handle, const Stream& stream) {
  Impl& impl = mine("report");
  impl.refuse_if_faulted();
  return impl.report(handle, stream);
}

std::vector<uint32_t> Group::local_experts() const {
  const RankState& state = mine("local_experts").state();
  std::vector<uint32_t> local;
  for (uint32_t e = 0; e < state.experts.experts; ++e)
    if (state.experts.owner[e] == state.map.me) local.push_back(e);
  return local;
}

MemoryReport Group::memory() const { return mine("memory").memory(); }
std::string Group::scale_up_name() const { return mine("scale_up_name").scale_up_name(); }
std::string Group::scale_out_name() const { return mine("scale_out_name").scale_out_name(); }

}  // namespace transload
