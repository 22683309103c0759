// Refusing what a caller may not pass.
#include "runtime/call/check_inputs.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/set.h"
#include "base/type_names.h"
#include "layout/token.h"
#include "runtime/choices.h"
#include "runtime/group_options.h"

namespace transload {

namespace {

[[noreturn]] void refuse(const std::string& argument, const std::string& value, const std::string& bound) {
  throw Error(Code::kInvalidArgument, argument + ": " + value + ", must be " + bound);
}
void within(std::string_view argument, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most)
    refuse(std::string(argument), std::to_string(value), std::to_string(least) + " to " + std::to_string(most));
}
std::string shape_of(const Tensor& t) {
  return "[" + std::to_string(t.shape[0]) + (t.ndim > 1 ? ", " + std::to_string(t.shape[1]) : "") + "]";
}
std::string strides_of(const Tensor& t) {
  return "strides [" + std::to_string(t.strides[0]) + ", " + std::to_string(t.strides[1]) + "]";
}
uint64_t bits_of(DLDataType type) { return uint64_t(type.bits) * type.lanes; }
void want_type(const char* argument, const Tensor& t, DLDataType type) {
  if (!same_type(t.dtype, type)) refuse(argument, type_name(t.dtype), type_name(type));
}
void want_id_type(const char* argument, DLDataType type) {
  if (!same_type(type, kI32) && !same_type(type, kI64)) refuse(argument, type_name(type), "int32 or int64");
}
void want_matrix(const char* argument, const Tensor& t) {
  if (t.ndim != 2) refuse(argument, std::to_string(t.ndim) + (t.ndim == 1 ? " dimension" : " dimensions"), "of 2");
  if (t.shape[0] < 0 || t.shape[1] < 0) refuse(argument, shape_of(t), "of no negative extent");
  if (bits_of(t.dtype) == 0) refuse(argument, type_name(t.dtype), "of a type that has bits");
  if (t.bytes() == kTooLarge) refuse(argument, shape_of(t) + " of " + type_name(t.dtype), "of fewer than 2^64 bytes");
  if (t.data == nullptr && t.bytes() > 0) refuse(argument, "null", "memory of " + std::to_string(t.bytes()) + " bytes");
}
void want_contiguous(const char* argument, const Tensor& t) {
  want_matrix(argument, t);
  const bool rows_follow = t.shape[0] <= 1 || t.strides[0] == t.shape[1];
  const bool elements_follow = t.shape[1] <= 1 || t.strides[1] == 1;
  if (!rows_follow || !elements_follow) refuse(argument, strides_of(t), "contiguous");
  if (times(uint64_t(t.columns()), bits_of(t.dtype)) % 8 != 0)
    refuse(argument, std::to_string(t.columns()) + " columns of " + type_name(t.dtype), "whole bytes a row");
}
void want_shape(const char* argument, const Tensor& t, uint64_t rows, uint64_t columns) {
  want_contiguous(argument, t);
  if (uint64_t(t.shape[0]) != rows || uint64_t(t.shape[1]) != columns)
    refuse(argument, shape_of(t), "[" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
}
void want_unit(const char* argument, uint64_t bytes) {
  if (bytes == 0 || bytes % kTokenUnit != 0)
    refuse(argument, std::to_string(bytes) + " bytes a row", "a positive multiple of 16 bytes a row");
}
std::string address_of(const Tensor& t) { return "address " + std::to_string(reinterpret_cast<uintptr_t>(t.data)); }
void want_aligned(const char* argument, const Tensor& t, uint64_t unit = kTokenUnit) {
  if (reinterpret_cast<uintptr_t>(t.data) % unit != 0)
    refuse(argument, address_of(t), "aligned to " + std::to_string(unit) + " bytes");
}
template <class Enum>
void want_choice(const char* argument, Enum value) {
  if (size_t(value) >= choices_count<Enum>()) refuse(argument, std::to_string(uint32_t(value)), all_choices<Enum>());
}
void want_option(const OptionFacts& facts, uint64_t value) {
  if (facts.zero_too && value == 0) return;
  within(facts.name, value, facts.least, facts.most);
  if (value % facts.unit != 0) refuse(facts.name, std::to_string(value), "a multiple of " + std::to_string(facts.unit));
}
void want_deadline(uint32_t ms) {
  if (ms != 0 && (ms < kDeadlineMsMin || ms > kDeadlineMsMax))
    refuse("deadline_ms", std::to_string(ms),
           "0, the group's, or " + std::to_string(kDeadlineMsMin) + " to " + std::to_string(kDeadlineMsMax));
}

// The addresses of a tensor's elements, whichever way its strides go.
struct MemoryRange {
  uintptr_t begin, end;
  bool meets(const MemoryRange& other) const {
    return begin < end && other.begin < other.end && begin < other.end && other.begin < end;
  }
};
MemoryRange range_of(const char* argument, const Tensor& t) {
  const auto at = reinterpret_cast<uintptr_t>(t.data);
  if (!t.given() || t.bytes() == 0) return {at, at};
  uint64_t back = 0, ahead = bits_of(t.dtype);
  for (int i = 0; i < 2; ++i) {
    const uint64_t stride = t.strides[i] < 0 ? 0 - uint64_t(t.strides[i]) : uint64_t(t.strides[i]);
    const uint64_t reach = times(times(uint64_t(t.shape[i] - 1), stride), bits_of(t.dtype));
    (t.strides[i] < 0 ? back : ahead) = plus(t.strides[i] < 0 ? back : ahead, reach);
  }
  const uint64_t bytes_back = back / 8 + (back % 8 != 0), bytes_ahead = ahead / 8 + (ahead % 8 != 0);
  if (back == kTooLarge || ahead == kTooLarge || bytes_back > at || bytes_ahead > ~at)
    refuse(argument, strides_of(t) + " of " + shape_of(t), "within the address space");
  return {at - bytes_back, at + bytes_ahead};
}

// Refuses a tensor that is not where the group's are. All device numbers of the CPU are one memory.
void want_there(DLDevice device, std::initializer_list<NamedTensor> tensors) {
  for (const auto& [name, tensor] : tensors) {
    const bool there = tensor.device.device_type == device.device_type &&
                       (device.device_type == kDLCPU || tensor.device.device_id == device.device_id);
    if (tensor.given() && !there) refuse(name, place_of(tensor.device), place_of(device));
  }
}
// Refuses an output over an input: inputs are still read while the output is written.
void want_apart(const NamedTensor& output, std::initializer_list<NamedTensor> inputs) {
  const MemoryRange mine = range_of(output.name, output.tensor);
  for (const NamedTensor& input : inputs)
    if (mine.meets(range_of(input.name, input.tensor)))
      refuse(output.name, std::string("over memory of ") + input.name, "apart from all inputs");
}

}  // namespace

void check_node_sizes(const std::string& argument, const std::vector<uint32_t>& sizes) {
  if (sizes.empty()) refuse(argument, "no node", "at least one node");
  uint64_t sum = 0;
  uint32_t most = 0, least = ~uint32_t(0);
  for (const uint32_t size : sizes) {
    within(argument, size, 1, kNodeSizeMax);
    sum += size;
    most = std::max(most, size);
    least = std::min(least, size);
  }
  within(argument + ": ranks in all", sum, 1, kRanksMax);
  const uint64_t streams = sizes.size() * ceil_div(most, least);
  within(argument + ": streams (nodes x largest node / smallest node, rounded up)", streams, 1, kMembersMax);
  within(argument + ": streams between peers (streams x largest node)", streams * most, 1, kMembersMax);
}

namespace {
void check_topology(const GroupOptions& o) {
  check_node_sizes("topology.node_sizes", o.topology.node_sizes);
  const uint32_t sum = o.topology.ranks();
  if (o.bootstrap.ranks != sum)
    refuse("bootstrap.ranks", std::to_string(o.bootstrap.ranks), std::to_string(sum) + ", the ranks of topology");
  if (o.bootstrap.rank >= sum)
    refuse("bootstrap.rank", std::to_string(o.bootstrap.rank), "below " + std::to_string(sum));
}
}  // namespace

void check_options(const GroupOptions& o) {
  check_topology(o);
  for_each_option(o, [](const OptionFacts& facts, uint64_t value) { want_option(facts, value); });
  if (!o.expert_owner.empty() && o.expert_owner.size() != o.experts)
    refuse("expert_owner", std::to_string(o.expert_owner.size()) + " entries",
           std::to_string(o.experts) + ", one for each expert");
  for (const uint32_t owner : o.expert_owner)
    if (owner >= o.bootstrap.ranks)
      refuse("expert_owner", std::to_string(owner), "a rank below " + std::to_string(o.bootstrap.ranks));
  if (o.rail_batch != 0) {
    GroupOptions whole = o;
    complete(whole);
    within("rail_batch", whole.rail_batch, 1, std::max(1u, whole.slots / 2));
  }
  want_choice("combine_wire", o.combine_wire);
  want_choice("scale_out", o.scale_out);
  want_choice("network_memory", o.network_memory);
  if (o.nic.find_first_of(",;:| ") != std::string::npos)
    refuse("nic", "\"" + o.nic + "\"", "the name of one NIC: on two a count could pass the bytes that it speaks of");
  if (o.network_memory == NetworkMemoryChoice::kGpu && o.device.device_type == kDLCPU)
    refuse("network_memory", word_of(o.network_memory), "auto or pinned where ranks are on the CPU");
}

namespace {

void check_ids(const GroupOptions& o, const Tensor& ids) {
  want_contiguous("topk_idx", ids);
  want_id_type("topk_idx", ids.dtype);
  within("columns of topk_idx", uint64_t(ids.columns()), 1, o.top_k_max);
  want_aligned("topk_idx", ids, bits_of(ids.dtype) / 8);
}

void check_routing(const GroupOptions& o, const DispatchInputs& in) {
  if (!in.topk_idx.given()) refuse("topk_idx", "not given", "given unless a handle is");
  check_ids(o, in.topk_idx);
  want_shape("topk_idx", in.topk_idx, uint64_t(in.x.rows()), uint64_t(in.topk_idx.columns()));
  if (!in.topk_weights.given()) refuse("topk_weights", "not given", "given unless a handle is");
  want_type("topk_weights", in.topk_weights, kF32);
  want_shape("topk_weights", in.topk_weights, uint64_t(in.x.rows()), uint64_t(in.topk_idx.columns()));
  want_aligned("topk_weights", in.topk_weights, sizeof(float));
}

void check_scales(const GroupOptions& o, const DispatchInputs& in) {
  want_matrix("scales", in.scales);
  if (o.scales_max == 0) refuse("scales", "given", "absent: the group was made with scales_max 0");
  if (bits_of(in.scales.dtype) != 32) refuse("scales", type_name(in.scales.dtype), "of 4-byte scalars");
  within("columns of scales", uint64_t(in.scales.columns()), 1, o.scales_max);
  if (in.scales.rows() != in.x.rows())
    refuse("scales", shape_of(in.scales), "of as many rows as x, " + std::to_string(in.x.rows()));
  want_aligned("scales", in.scales, 4);
  range_of("scales", in.scales);
}

void check_handle_of(const RankState& group, const DispatchInputs& in) {
  check_handle(group, in.handle);
  if (in.topk_idx.given() || in.topk_weights.given())
    refuse(in.topk_idx.given() ? "topk_idx" : "topk_weights", "given with a handle",
           "absent: the handle is the routing");
  if (uint64_t(in.x.rows()) != in.handle->tokens)
    refuse("x", shape_of(in.x), "of as many rows as the handle, " + std::to_string(in.handle->tokens));
  if (in.rows_max != 0 && uint64_t(in.rows_max) != in.handle->rows_max)
    refuse("rows_max", std::to_string(in.rows_max), "0 or what the handle's dispatch was given: the handle keeps it");
}

void check_out_x(const RankState& group, const DispatchInputs& in) {
  want_contiguous("out_x", in.out_x);
  want_aligned("out_x", in.out_x);
  if (in.out_x.row_bytes() != in.x.row_bytes())
    refuse("out_x", std::to_string(in.out_x.row_bytes()) + " bytes a row", std::to_string(in.x.row_bytes()) + ", as x");
  const uint64_t rows_max = in.handle ? in.handle->rows_max : in.rows_max == 0 ? kNoRowsMax : uint64_t(in.rows_max);
  if (rows_max != kNoRowsMax && uint64_t(in.out_x.rows()) < rows_max)
    refuse("out_x", std::to_string(in.out_x.rows()) + " rows", "at least " + std::to_string(rows_max) + ", rows_max");
  want_apart({"out_x", in.out_x},
             {{"x", in.x}, {"scales", in.scales}, {"topk_idx", in.topk_idx}, {"topk_weights", in.topk_weights}});
  if (in.landing == Landing::kDirect && !group.arena->holds(in.out_x.data, in.out_x.bytes()))
    refuse("landing", "direct", "auto or ring: out_x lies in no lease of this group");
}

}  // namespace

void check_dispatch(const RankState& group, const DispatchInputs& in) {
  const GroupOptions& o = group.options;
  if (in.refused) {
    if (in.refused->code() == Code::kInvalidArgument || in.refused->code() == Code::kNotSupported) throw *in.refused;
    refuse("refused", in.refused->what(), "an Error of kInvalidArgument or kNotSupported");
  }
  if (!in.x.given()) refuse("x", "not given", "a matrix [tokens, hidden]");
  want_there(o.device, {{"x", in.x},
                        {"scales", in.scales},
                        {"topk_idx", in.topk_idx},
                        {"topk_weights", in.topk_weights},
                        {"out_x", in.out_x}});
  want_contiguous("x", in.x);
  want_unit("x", in.x.row_bytes());
  within("row bytes of x", in.x.row_bytes(), kTokenUnit, o.row_bytes_max);
  within("rows of x", uint64_t(in.x.rows()), 0, o.tokens_max);
  want_aligned("x", in.x);
  if (in.scales.given()) check_scales(o, in);
  within("channels", in.channels, 0, o.channels);
  within("expert_alignment", in.expert_alignment, 1, 1 << 20);
  want_choice("landing", in.landing);
  want_choice("overflow", in.overflow);
  want_id_type("idx_type", in.idx_type);
  want_deadline(in.deadline_ms);
  const uint64_t rows_most = o.tokens_max * o.bootstrap.ranks;
  if (in.rows_max < 0 || uint64_t(in.rows_max) > rows_most)
    refuse("rows_max", std::to_string(in.rows_max),
           "0 to " + std::to_string(rows_most) + ", the most rows that can come");
  if (in.handle)
    check_handle_of(group, in);
  else
    check_routing(o, in);
  if (in.out_x.given()) check_out_x(group, in);
}

void check_count(const RankState& group, const Tensor& topk_idx) {
  if (!topk_idx.given()) refuse("topk_idx", "not given", "a matrix [tokens, choices]");
  want_there(group.options.device, {{"topk_idx", topk_idx}});
  check_ids(group.options, topk_idx);
  within("rows of topk_idx", uint64_t(topk_idx.rows()), 0, group.options.tokens_max);
  within("choices of topk_idx", uint64_t(topk_idx.rows()) * uint64_t(topk_idx.columns()), 0, INT32_MAX);
}

namespace {

// Checks the caller's memory for what a combine returns.
void check_outputs(const CombineInputs& in) {
  const std::initializer_list<NamedTensor> inputs{
      {"x", in.x}, {"topk_weights", in.topk_weights}, {"bias[0]", in.bias[0]}, {"bias[1]", in.bias[1]}};
  if (in.out_x.given()) {
    want_type("out_x", in.out_x, kBf16);
    want_shape("out_x", in.out_x, in.handle->tokens, uint64_t(in.x.columns()));
    want_aligned("out_x", in.out_x);
    want_apart({"out_x", in.out_x}, inputs);
  }
  if (!in.out_topk_weights.given()) return;
  if (!in.topk_weights.given()) refuse("out_topk_weights", "given", "absent: no topk_weights are given");
  want_type("out_topk_weights", in.out_topk_weights, kF32);
  want_shape("out_topk_weights", in.out_topk_weights, in.handle->tokens, in.handle->top_k);
  want_aligned("out_topk_weights", in.out_topk_weights, sizeof(float));
  want_apart({"out_topk_weights", in.out_topk_weights}, inputs);
  want_apart({"out_topk_weights", in.out_topk_weights}, {{"out_x", in.out_x}});
}

}  // namespace

void check_combine(const RankState& group, const CombineInputs& in) {
  const GroupOptions& o = group.options;
  check_handle(group, in.handle);
  if (!in.x.given()) refuse("x", "not given", "a matrix [rows, hidden]");
  want_there(o.device, {{"x", in.x},
                        {"topk_weights", in.topk_weights},
                        {"bias[0]", in.bias[0]},
                        {"bias[1]", in.bias[1]},
                        {"out_x", in.out_x},
                        {"out_topk_weights", in.out_topk_weights}});
  want_type("x", in.x, kBf16);
  want_shape("x", in.x, in.handle->rows_held(), uint64_t(in.x.columns()));
  want_unit("x", in.x.row_bytes());
  within("row bytes of x", in.x.row_bytes(), kTokenUnit, o.row_bytes_max);
  want_aligned("x", in.x);
  if (in.topk_weights.given()) {
    want_type("topk_weights", in.topk_weights, kF32);
    want_shape("topk_weights", in.topk_weights, in.handle->rows_held(), in.handle->top_k);
    want_aligned("topk_weights", in.topk_weights, sizeof(float));
  }
  for (int i = 0; i < 2; ++i) {
    const char* name = i == 0 ? "bias[0]" : "bias[1]";
    if (!in.bias[i].given()) continue;
    want_type(name, in.bias[i], kBf16);
    want_shape(name, in.bias[i], in.handle->tokens, uint64_t(in.x.columns()));
    want_aligned(name, in.bias[i], sizeof(uint16_t));
    if (i == 1 && !in.bias[0].given()) refuse("bias[1]", "given alone", "given only with bias[0]");
  }
  check_outputs(in);
  within("channels", in.channels, 0, o.channels);
  want_choice("source", in.source);
  want_choice("wire", in.wire);
  if (in.wire > o.combine_wire)
    refuse("wire", word_of(in.wire), std::string("at most combine_wire of the group, ") + word_of(o.combine_wire));
  want_deadline(in.deadline_ms);
  if (in.source == CombineSource::kPull && !can_be_pulled(group, in))
    refuse("source", "pull", "push: x (and topk_weights) must lie in a lease of this group to be pulled");
}

void check_room(const NamedTensor& given, const std::vector<NamedTensor>& others) {
  const std::string argument = std::string("room for ") + given.name, bound = "; the group is still usable";
  const Tensor& t = given.tensor;
  if (t.bytes() == 0) return;
  if (t.data == nullptr) refuse(argument, "null", "memory of " + std::to_string(t.bytes()) + " bytes" + bound);
  if (reinterpret_cast<uintptr_t>(t.data) % kTokenUnit != 0)
    refuse(argument, address_of(t), "aligned to " + std::to_string(kTokenUnit) + " bytes" + bound);
  for (const NamedTensor& other : others)
    if (range_of(given.name, t).meets(range_of(other.name, other.tensor)))
      refuse(argument, std::string("over memory of ") + other.name, "apart from all else of the call" + bound);
}

// Without rows there is nothing to read: any place will do.
bool can_be_pulled(const RankState& group, const CombineInputs& in) {
  auto leased = [&](const Tensor& t) { return !t.given() || t.rows() == 0 || group.arena->holds(t.data, t.bytes()); };
  return leased(in.x) && leased(in.topk_weights);
}

void check_handle(const RankState& group, const Handle& handle) {
  if (!handle) refuse("handle", "not given", "that of a dispatch");
  if (handle->group != group.id) refuse("handle", "of another group", "of a dispatch of this group");
}

Status too_many_rows(uint64_t needed, uint64_t rows_max, Overflow overflow) {
  return {Code::kTooManyRows, "rows_max: " + std::to_string(rows_max) + ", but " + std::to_string(needed) +
                                  " rows came: the " + std::to_string(needed - rows_max) +
                                  (overflow == Overflow::kDrop ? " last rows were dropped"
                                                               : " last rows have no room; the group is still usable")};
}

Status bad_expert(const BadExpert& bad, uint32_t experts) {
  return {Code::kBadExpertId, "topk_idx: " + std::to_string(bad.value) + " at token " + std::to_string(bad.token) +
                                  ", slot " + std::to_string(bad.slot) + ", must be -1 to " +
                                  std::to_string(experts - 1) + "; counted as -1"};
}

}  // namespace transload
