// Laying a rank's network region, drained words and queue of commands side by side.
#include "runtime/cuda/network_memory.h"

#include <utility>

#include "base/math.h"
#include "layout/cursor.h"
#ifdef TRANSLOAD_LIBFABRIC
#include "transport/scaleout/libfabric/try_region.h"
#endif

namespace transload {

#ifdef TRANSLOAD_LIBFABRIC
DeviceNetwork try_device_network(const RankState& state, const DeviceInfo& gpu, const std::string& source_address,
                                 const std::string& near_nic) {
  constexpr uint64_t kWhole = 2 << 20;  // size of the pages that dma-bufs are made of
  DeviceNetwork tried;
  LibfabricOptions options;
  options.rank = state.map.me;
  options.ranks = state.map.ranks;
  options.provider = state.options.provider;
  options.source_address = source_address;
  options.nic_asked_for = !state.options.nic.empty();
  options.nic = options.nic_asked_for ? state.options.nic : near_nic;
  const auto place = [&](RegionPlace how, LibfabricOptions& of) {
    if (tried.block.base() == nullptr)
      tried.block = DeviceBlock(gpu.device, round_up(state.network_bytes(), kWhole), "network region");
    if (how == RegionPlace::kDmaBuf) tried.dma_buf = dma_buf_of(tried.block);
    tried.told = {.cuda = gpu.device, .dma_buf = how == RegionPlace::kDmaBuf ? tried.dma_buf.get() : -1};
    of.region = tried.block.base();
    of.region_bytes = state.network_bytes();
    of.device = tried.told;
  };
  try {
    tried.choice = try_region(options, gpu, place);
  } catch (const Error& error) {
    if (error.code() != Code::kOutOfMemory) throw;
    tried.choice = {RegionPlace::kPinned, error.what()};
  }
  if (tried.choice.place == RegionPlace::kPinned)
    tried = {.choice = tried.choice, .block = {}, .dma_buf = {}, .told = {}};
  return tried;
}
#else
DeviceNetwork try_device_network(const RankState&, const DeviceInfo&, const std::string&, const std::string&) {
  return {.choice = {RegionPlace::kPinned, "this build has no libfabric"}, .block = {}, .dma_buf = {}, .told = {}};
}
#endif

NetworkMemory::NetworkMemory(const RankState& state, int device, DeviceNetwork on_device)
    : device_(std::move(on_device)), region_bytes_(state.network_bytes()) {
  const RingWords words = state.ring_words();
  Cursor at{.unit = kSlotAlign};
  if (!this->on_device()) at.take(1, region_bytes_);
  const uint64_t dispatch = at.take(words.dispatch_rail.producers, sizeof(Word)),
                 combine = at.take(words.combine_rail.producers, sizeof(Word)), taken = at.take(1, sizeof(Word)),
                 slots = at.take(state.options.rail_queue, sizeof(CommandSlot));
  pinned_ = PinnedBlock(device, at.bytes);
  if (pinned_.host() != pinned_.on_device())  // commands carry addresses from kernels to the host
    throw Error(Code::kNotSupported, "device: cuda " + std::to_string(device) +
                                         " reaches pinned memory at other addresses than the host: it needs unified "
                                         "addresses to use a network");
  const auto word = [&](uint64_t offset) { return reinterpret_cast<Word*>(pinned_.host() + offset); };
  drained_dispatch_ = word(dispatch);
  drained_combine_ = word(combine);
  taken_ = word(taken);
  queue_ = {.slots = reinterpret_cast<CommandSlot*>(pinned_.host() + slots),
            .taken = taken_,
            .next = nullptr,
            .network = region(),
            .slot_count = state.options.rail_queue};
}

}  // namespace transload
