// See check_inputs.h.
#include "runtime/check_inputs.h"

#include <string>

#include "base/set.h"
#include "layout/token.h"

namespace transload {

namespace {

constexpr uint64_t kTokensMax = uint64_t(1) << 31;
constexpr uint64_t kRowBytesMax = uint64_t(1) << 24;
constexpr uint32_t kRanksMax = 4096;
constexpr uint32_t kNodeSizeMax = 1024;
constexpr uint32_t kChannelsMax = 1024;
constexpr uint32_t kSlotsMax = 65536;
constexpr uint32_t kExpertsMax = 1 << 20;

[[noreturn]] void refuse(const std::string& argument, const std::string& value, const std::string& bound) {
  throw Error(Code::kInvalidArgument, argument + ": " + value + ", must be " + bound);
}
void within(const char* argument, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most)
    refuse(argument, std::to_string(value), std::to_string(least) + " to " + std::to_string(most));
}
std::string shape_of(const Tensor& t) {
  return "[" + std::to_string(t.shape[0]) + (t.ndim > 1 ? ", " + std::to_string(t.shape[1]) : "") + "]";
}
std::string type_of(DLDataType t) {
  return "type code " + std::to_string(t.code) + " of " + std::to_string(t.bits) + " bits";
}
void want_type(const char* argument, const Tensor& t, DLDataType type, const char* name) {
  if (!same_type(t.dtype, type)) refuse(argument, type_of(t.dtype), name);
}
void want_cpu_matrix(const char* argument, const Tensor& t) {
  if (t.device.device_type != kDLCPU)
    refuse(argument, "device type " + std::to_string(t.device.device_type), "on the CPU (1)");
  if (t.ndim != 2) refuse(argument, std::to_string(t.ndim) + " dimensions", "of 2 dimensions");
  if (t.shape[0] < 0 || t.shape[1] < 0) refuse(argument, shape_of(t), "of no negative extent");
  if (t.data == nullptr && t.bytes() > 0) refuse(argument, "null", "memory of " + std::to_string(t.bytes()) + " bytes");
}
void want_contiguous(const char* argument, const Tensor& t) {
  want_cpu_matrix(argument, t);
  const bool rows_follow = t.shape[0] <= 1 || t.strides[0] == t.shape[1];
  const bool elements_follow = t.shape[1] <= 1 || t.strides[1] == 1;
  if (!rows_follow || !elements_follow)
    refuse(argument, "strides [" + std::to_string(t.strides[0]) + ", " + std::to_string(t.strides[1]) + "]",
           "contiguous");
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
void want_aligned(const char* argument, const Tensor& t) {
  if (reinterpret_cast<uintptr_t>(t.data) % kTokenUnit != 0)
    refuse(argument, "address " + std::to_string(reinterpret_cast<uintptr_t>(t.data)), "aligned to 16 bytes");
}
void want_one_of(const char* argument, uint32_t value, uint32_t count) {
  if (value >= count) refuse(argument, std::to_string(value), "0 to " + std::to_string(count - 1));
}

}  // namespace

Limits limits() {
  return {kRanksMax,    kNodeSizeMax, kRanksMax, uint32_t(kMembersMax), uint32_t(kSetMax), kChannelsMax, kSlotsMax,
          kRowBytesMax, kTokenUnit,   kTokensMax};
}

namespace {
void check_topology(const GroupOptions& o) {
  if (o.topology.node_sizes.empty()) refuse("topology", "no node", "at least one node");
  uint64_t sum = 0;
  uint32_t most = 0, least = ~uint32_t(0);
  for (uint32_t size : o.topology.node_sizes) {
    within("topology.node_sizes", size, 1, kNodeSizeMax);
    sum += size;
    most = std::max(most, size);
    least = std::min(least, size);
  }
  within("ranks of topology", sum, 1, kRanksMax);
  const uint64_t streams = o.topology.node_sizes.size() * ceil_div(most, least);
  within("streams of topology (nodes x largest node / smallest node)", streams, 1, kMembersMax);
  within("streams between peers (largest node x streams of topology)", streams * most, 1, kMembersMax);
  if (o.bootstrap.ranks != sum)
    refuse("bootstrap.ranks", std::to_string(o.bootstrap.ranks), std::to_string(sum) + ", the ranks of topology");
  if (o.bootstrap.rank >= sum)
    refuse("bootstrap.rank", std::to_string(o.bootstrap.rank), "below " + std::to_string(sum));
}
}  // namespace

void check_options(const GroupOptions& o) {
  check_topology(o);
  within("experts", o.experts, 1, kExpertsMax);
  if (!o.expert_owner.empty() && o.expert_owner.size() != o.experts)
    refuse("expert_owner", std::to_string(o.expert_owner.size()) + " entries",
           std::to_string(o.experts) + ", one for each expert");
  for (uint32_t owner : o.expert_owner)
    if (owner >= o.bootstrap.ranks)
      refuse("expert_owner", std::to_string(owner), "a rank below " + std::to_string(o.bootstrap.ranks));
  within("tokens_max", o.tokens_max, 1, kTokensMax);
  within("row_bytes_max", o.row_bytes_max, kTokenUnit, kRowBytesMax);
  if (o.row_bytes_max % kTokenUnit != 0) refuse("row_bytes_max", std::to_string(o.row_bytes_max), "a multiple of 16");
  within("scales_max", o.scales_max, 0, 4096);
  within("top_k_max", o.top_k_max, 1, kSetMax);
  within("channels", o.channels, 1, kChannelsMax);
  within("slots", o.slots, 1, kSlotsMax);
  within("peer_slots", o.peer_slots, 0, kSlotsMax);
  within("slab_bytes", o.slab_bytes, 0, uint64_t(1) << 46);
  within("deadline_ms", o.deadline_ms, 50, 24 * 3600 * 1000);
  if (o.create_deadline_ms != 0) within("create_deadline_ms", o.create_deadline_ms, 50, 24 * 3600 * 1000);
  want_one_of("scale_out", uint32_t(o.scale_out), 3);
}

namespace {
void check_routing(const GroupOptions& o, const DispatchInputs& in) {
  if (!in.topk_idx.given()) refuse("topk_idx", "not given", "given unless a handle is");
  want_contiguous("topk_idx", in.topk_idx);
  if (!same_type(in.topk_idx.dtype, kI32) && !same_type(in.topk_idx.dtype, kI64))
    refuse("topk_idx", type_of(in.topk_idx.dtype), "int32 or int64");
  within("columns of topk_idx", uint64_t(in.topk_idx.columns()), 1, o.top_k_max);
  want_shape("topk_idx", in.topk_idx, uint64_t(in.x.rows()), uint64_t(in.topk_idx.columns()));
  if (!in.topk_weights.given()) refuse("topk_weights", "not given", "given unless a handle is");
  want_shape("topk_weights", in.topk_weights, uint64_t(in.x.rows()), uint64_t(in.topk_idx.columns()));
  want_type("topk_weights", in.topk_weights, kF32, "float32");
}
}  // namespace

void check_dispatch(const GroupOptions& o, const void* group, const DispatchInputs& in) {
  if (!in.x.given()) refuse("x", "not given", "a matrix [tokens, hidden]");
  want_contiguous("x", in.x);
  want_unit("x", in.x.row_bytes());
  within("row bytes of x", in.x.row_bytes(), kTokenUnit, o.row_bytes_max);
  within("rows of x", uint64_t(in.x.rows()), 0, o.tokens_max);
  want_aligned("x", in.x);
  if (in.scales.given()) {
    want_cpu_matrix("scales", in.scales);
    if (in.scales.element_bytes() != 4) refuse("scales", type_of(in.scales.dtype), "of 4-byte scalars");
    within("columns of scales", uint64_t(in.scales.columns()), 1, o.scales_max);
    if (in.scales.rows() != in.x.rows())
      refuse("scales", shape_of(in.scales), "of as many rows as x, " + std::to_string(in.x.rows()));
  }
  within("channels", in.channels, 0, o.channels);
  within("expert_alignment", in.expert_alignment, 1, 1 << 20);
  want_one_of("landing", uint32_t(in.landing), 3);
  want_one_of("overflow", uint32_t(in.overflow), 2);
  const uint64_t rows_most = o.tokens_max * o.bootstrap.ranks;
  if (in.rows_max < 0 || uint64_t(in.rows_max) > rows_most)
    refuse("rows_max", std::to_string(in.rows_max), "0 to " + std::to_string(rows_most) + ", what can come at most");
  if (!in.handle) check_routing(o, in);
  if (in.handle) {
    check_handle(group, in.handle);
    if (in.topk_idx.given() || in.topk_weights.given())
      refuse("topk_idx", "given with a handle", "absent: the handle is the routing");
    if (uint64_t(in.x.rows()) != in.handle->tokens)
      refuse("x", shape_of(in.x), "of as many rows as the handle, " + std::to_string(in.handle->tokens));
    if (in.rows_max != 0 && uint64_t(in.rows_max) != in.handle->rows_max)
      refuse("rows_max", std::to_string(in.rows_max), "0 or what the handle's dispatch was given: the handle keeps it");
  }
  if (in.out_x.given()) {
    want_contiguous("out_x", in.out_x);
    want_aligned("out_x", in.out_x);
    if (in.out_x.row_bytes() != in.x.row_bytes())
      refuse("out_x", std::to_string(in.out_x.row_bytes()) + " bytes a row",
             std::to_string(in.x.row_bytes()) + ", as x");
    const uint64_t rows_max = in.handle ? in.handle->rows_max : in.rows_max == 0 ? kNoRowsMax : uint64_t(in.rows_max);
    if (rows_max != kNoRowsMax && uint64_t(in.out_x.rows()) < rows_max)
      refuse("out_x", std::to_string(in.out_x.rows()) + " rows", "at least " + std::to_string(rows_max) + ", rows_max");
  }
}

void check_combine(const GroupOptions& o, const void* group, const CombineInputs& in) {
  check_handle(group, in.handle);
  if (!in.x.given()) refuse("x", "not given", "a matrix [rows, hidden]");
  want_type("x", in.x, kBf16, "bfloat16");
  want_shape("x", in.x, in.handle->rows_held(), uint64_t(in.x.columns()));
  want_unit("x", in.x.row_bytes());
  within("row bytes of x", in.x.row_bytes(), kTokenUnit, o.row_bytes_max);
  want_aligned("x", in.x);
  if (in.topk_weights.given()) {
    want_type("topk_weights", in.topk_weights, kF32, "float32");
    want_shape("topk_weights", in.topk_weights, in.handle->rows_held(), in.handle->top_k);
  }
  for (int i = 0; i < 2; ++i) {
    const char* name = i == 0 ? "bias[0]" : "bias[1]";
    if (!in.bias[i].given()) continue;
    want_type(name, in.bias[i], kBf16, "bfloat16");
    want_shape(name, in.bias[i], in.handle->tokens, uint64_t(in.x.columns()));
    if (i == 1 && !in.bias[0].given()) refuse("bias[1]", "given alone", "given only with bias[0]");
  }
  if (in.out_x.given()) {
    want_type("out_x", in.out_x, kBf16, "bfloat16");
    want_shape("out_x", in.out_x, in.handle->tokens, uint64_t(in.x.columns()));
    want_aligned("out_x", in.out_x);
  }
  within("channels", in.channels, 0, o.channels);
  want_one_of("source", uint32_t(in.source), 3);
  want_one_of("wire", uint32_t(in.wire), 2);
}

void check_handle(const void* group, const Handle& handle) {
  if (!handle) refuse("handle", "not given", "that of a dispatch");
  if (handle->group != group) refuse("handle", "of another group", "of a dispatch of this group");
}

Status too_many_rows(uint64_t needed, uint64_t rows_max, Overflow overflow) {
  return {Code::kTooManyRows,
          "rows_max: " + std::to_string(rows_max) + ", needed " + std::to_string(needed) + ": the " +
              std::to_string(needed - rows_max) +
              (overflow == Overflow::kDrop ? " last rows were dropped" : " last rows have no room; the group is good")};
}

Status bad_expert(const BadExpert& bad, uint32_t experts) {
  return {Code::kBadExpertId, "topk_idx: " + std::to_string(bad.value) + " at token " + std::to_string(bad.token) +
                                  ", slot " + std::to_string(bad.slot) + ", must be -1 to " +
                                  std::to_string(experts - 1) + "; counted as -1"};
}

Tensor tensor_from(const DLTensor& other) {
  if (other.ndim != 1 && other.ndim != 2) refuse("DLTensor.ndim", std::to_string(other.ndim), "1 or 2");
  Tensor t;
  t.data = static_cast<char*>(other.data) + other.byte_offset;
  t.device = other.device;
  t.dtype = other.dtype;
  t.ndim = other.ndim;
  for (int i = 0; i < 2; ++i) t.shape[i] = i < other.ndim ? other.shape[i] : 1;
  for (int i = 0; i < 2; ++i) {
    const int64_t contiguous = i == 0 ? t.shape[1] : 1;
    t.strides[i] = i < other.ndim && other.strides ? other.strides[i] : contiguous;
  }
  return t;
}

}  // namespace transload
