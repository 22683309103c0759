// Making a group on GPUs: whose device is whose, where memory lies, and what kernels need to find it.
#include <cuda_runtime_api.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "gpu/cuda_error.h"
#include "gpu/driver.h"
#include "kernels/near.h"
#include "os/clock.h"
#include "os/thread.h"
#include "runtime/choices.h"
#include "runtime/cuda/cuda_group.h"

namespace transload {

CudaGroup::CudaGroup(const GroupOptions& given)
    : state_(given),
      options(state_.options),
      map(state_.map),
      device(given.device.device_id),
      call_since(now_ns()),
      deadline_ms(options.deadline_ms) {
  meet();
  all_or_none([&] { take_device(); });
  const OnDevice here(device);
  sweep_parked();
  map_memory(share_devices());
  all_or_none([&] {
    make_room();
    fill_board();
    load_kernels();
  });
  control->gather("ready");
  watcher_ = start_thread<std::jthread>([this](std::stop_token stop) { watch(stop); });
}

void CudaGroup::take_device() {
  refuse_without_device();
  const Devices all = find_devices();
  if (device < 0 || size_t(device) >= all.devices.size())
    throw Error(Code::kInvalidArgument,
                "device: cuda " + std::to_string(device) + ", must be 0 to " + std::to_string(all.devices.size() - 1));
  info_ = all.devices[size_t(device)];
  if (options.sms < 1 || options.sms > info_.sms)
    throw Error(Code::kInvalidArgument,
                "sms: " + std::to_string(options.sms) + ", must be 1 to " + std::to_string(info_.sms));
  const uint64_t members = uint64_t(map.peers) * std::max(map.sources(), uint32_t(kDispatchStreams));
  for (const auto& [what, value] : {std::pair{"ranks of topology", uint64_t(map.ranks)},
                                    {"streams between peers (peers x streams of topology)", members}})
    if (value > kCudaMembersMax)
      throw Error(Code::kInvalidArgument, std::string(what) + ": " + std::to_string(value) + ", must be at most " +
                                              std::to_string(kCudaMembersMax) + " on GPUs");
  if (options.scale_out != ScaleOutChoice::kAuto && options.scale_out != ScaleOutChoice::kLoopback)
    throw Error(Code::kNotSupported, std::string("scale_out: ") + word_of(options.scale_out) +
                                         ", must be auto or loopback for ranks on GPUs");
  making_ = make_stream(device);
  done_ = make_event(device);
}

bool CudaGroup::share_devices() {
  const DeviceUse mine{.uuid = info_.uuid,
                       .sms = options.sms,
                       .device_sms = info_.sms,
                       .mps = info_.mps,
                       .process = process_identity(),
                       .group = random_word()};
  const std::vector<DeviceUse> all = gather(mine.pack(), DeviceUse::unpack);
  check_device_uses(all);
  calls_ = CallLog(all[0].group, map.me);
  all_or_none([&] { claim_ = SmClaim(all, mine); });
  return std::all_of(all.begin(), all.end(), [&](const DeviceUse& use) { return use.process == mine.process; });
}

void CudaGroup::map_memory(bool one_process) {
  const uint64_t net_bytes = state_.network_bytes(), up_bytes = state_.scale_up_bytes();
  WayChoice choice;
  all_or_none([&] {
    choice = choose_way(device, one_process);
    region = std::make_shared<DeviceRegion>(device, net_bytes + up_bytes + round_up(options.slab_bytes, kPageBytes),
                                            choice.way);
  });
  const Descriptor bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));  // nobody rings: kernels look
  neighbours = share_memory(region, bell.get(), true);
  state_.arena = std::make_shared<Arena>(region->base() + net_bytes + up_bytes, options.slab_bytes, region);
  state_.decide("scale-up", scale_up_name(), choice.reason);
  if (map.nodes > 1) state_.decide("scale-out", "loopback", "the rails of ranks on GPUs of one host are mapped");
}

// Returns zeroed memory that lives as long as the group.
template <class T>
T* CudaGroup::make(uint64_t count) {
  constexpr uint64_t kChunk = 4 << 20;
  count = std::max<uint64_t>(1, count);
  Cursor behind = block_room_;
  uint64_t at = behind.take(count, sizeof(T));
  if (blocks_.empty() || behind.bytes > blocks_.back().bytes()) {
    behind.bytes = 0;
    at = behind.take(count, sizeof(T));
    blocks_.emplace_back(device, std::max(kChunk, behind.bytes), "group");
  }
  block_room_ = behind;
  return reinterpret_cast<T*>(blocks_.back().base() + at);
}

template <class T>
T* CudaGroup::upload(const T* from, uint64_t count) {
  T* const to = make<T>(count);
  if (count > 0)
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, making_.get()), "cudaMemcpyAsync",
               device);
  return to;
}

void CudaGroup::make_room() {
  const Geometry& g = state_.geometry;
  const TokenShape token = longest_token(options);
  pinned_ = PinnedBlock(device, sizeof(HostWords) + 8 * state_.experts.experts_of(map.me) + report_bytes());
  words().fault.rank = map.me;
  buffers.state = make<DeviceState>(1);
  buffers.card = make<Card>(1);
  buffers.grants = make<char>(map.peers * state_.grant_bytes());
  buffers.scales = make<char>(options.tokens_max * token.scale_room());
  buffers.headers = make<char>(options.tokens_max * token.header_bytes());
  buffers.cached_headers = make<char>(options.tokens_max * sizeof(Header));
  buffers.counts_to_peers = make<char>(map.peers * g.counts_bytes());
  buffers.counts_to_nodes = make<char>(map.nodes * g.node_counts_bytes());
  buffers.layout = {make<char>(layout_scratch_bytes(g, state_.experts.experts))};
  buffers.spans = make<uint64_t>((uint64_t(map.sources()) + map.ranks) * (options.channels + 1));
  DeviceHandle unplaced{};
  const DeviceHandleSizes most = handle_sizes(state_, options.tokens_max, options.top_k_max, options.channels);
  buffers.spare_handle = make<char>(lay_handle(unplaced, most, nullptr));
  buffers.spare_sum = make<char>(options.row_bytes_max);
  buffers.spare_weights = make<char>(uint64_t(options.top_k_max) * sizeof(float));
  const uint32_t table_bytes = table_bytes_of(map);
  if (table_bytes > kNearTablesMax)
    buffers.global_tables = make<char>(uint64_t(options.sms) * kWarpsOfBlock * table_bytes);
  const auto positions = [&](const RingEnds& ends) {
    return DevicePositions{make<Word>(ends.producers), make<Word>(ends.consumers), make<Word>(ends.producers)};
  };
  const RingWords words = state_.ring_words();
  buffers.dispatch_up = positions(words.dispatch_up);
  buffers.dispatch_rail = positions(words.dispatch_rail);
  buffers.combine_up = positions(words.combine_up);
  buffers.combine_rail = positions(words.combine_rail);
}

void CudaGroup::fill_board() {
  const uint64_t net_bytes = state_.network_bytes();
  Board& board = state_.board;
  board.map = map;
  board.geometry = state_.geometry;
  board.network = region->base();
  peer_base_.resize(map.peers);
  for (uint32_t p = 0; p < map.peers; ++p)
    peer_base_[p] = (p == map.peer ? region->base() : neighbours->base(map.mate(p))) + net_bytes;
  std::vector<char*> mapped(map.ranks, nullptr);
  for (uint32_t r : state_.counterparts()) mapped[r] = neighbours->base(r);
  board.peer = peer_base_.data();
  buffers.map = map;
  buffers.map.node_begin = upload(map.node_begin, map.nodes + 1);
  buffers.map.node_of = upload(map.node_of, map.ranks);
  const Placement& experts = state_.experts;
  buffers.experts = {upload(experts.owner, experts.experts), upload(experts.place, experts.experts),
                     upload(experts.rank_begin, map.ranks + 1), experts.experts};
  const Word always = ~Word(0);
  Board& there = buffers.board = board;
  there.map = buffers.map;
  there.peer = upload(peer_base_.data(), peer_base_.size());
  there.mapped = upload(mapped.data(), mapped.size());
  there.rails = upload(state_.rails.data(), state_.rails.size());
  there.sources = upload(state_.sources.data(), state_.sources.size());
  there.always = upload(&always, 1);
  std::vector<StoreArea> areas{{region->base(), region->bytes()}};
  for (uint32_t r : state_.neighbours(true)) areas.push_back({neighbours->base(r), neighbours->bytes(r)});
  buffers.areas = upload(areas.data(), areas.size());
  buffers.area_count = uint32_t(areas.size());
}

void CudaGroup::load_kernels() {
  const int near = int(near_bytes_max());
  launched(prepare_notify(near), "notify");
  launched(prepare_dispatch(near), "dispatch");
  launched(prepare_combine(near), "combine");
  launched(load_layout_kernels(), "layout");
  const TokenShape header{options.row_bytes_max, 0, options.top_k_max, false};
  launched(launch_headers({.call = device_call(nullptr),
                           .shape = header,
                           .me = map.me,
                           .tokens = options.tokens_max,
                           .scales = {},
                           .staged_scales = nullptr,
                           .headers = buffers.cached_headers},
                          making_.get()),
           "headers");
  check_cuda(cudaStreamSynchronize(making_.get()), "cudaStreamSynchronize", device);
}

std::unique_ptr<Group::Impl> make_cuda_group(const GroupOptions& options) {
  return std::make_unique<CudaGroup>(options);
}

}  // namespace transload
