// Reading what another rank tells of its device memory, and finding a way to share it.
#include "transport/scaleup/nvlink/device_offer.h"

#include <algorithm>
#include <iterator>

#include "base/bytes.h"
#include "base/malformed.h"
#include "transload/status.h"

namespace transload {

const char* name_of(MemoryWay way) {
  constexpr const char* names[] = {"vmm", "ipc", "plain"};
  static_assert(std::size(names) == size_t(MemoryWay::kCount));
  return names[size_t(way)];
}

std::string DeviceOffer::pack() const {
  return ByteWriter().u8(uint8_t(way)).u32(device).text(uuid).text(handle).take();
}

DeviceOffer DeviceOffer::unpack(const PeerRegion& peer) {
  ByteReader reader(peer.handle);
  DeviceOffer offer;
  offer.rank = peer.rank;
  const uint8_t way = reader.u8();
  offer.device = reader.u32();
  offer.uuid = reader.text();
  offer.handle = reader.text();
  if (!reader.done() || way >= uint8_t(MemoryWay::kCount))
    throw malformed("group: the device memory that rank " + std::to_string(peer.rank) + " offers");
  offer.way = MemoryWay(way);
  return offer;
}

std::string DeviceOffer::to_string() const {
  return "device " + std::to_string(device) + " (" + uuid + ") of rank " + std::to_string(rank);
}

std::string unreachable(const Devices& all, int device, const DeviceOffer& theirs, const std::string& why) {
  const auto seen = std::find_if(all.devices.begin(), all.devices.end(),
                                 [&](const DeviceInfo& info) { return info.uuid == theirs.uuid; });
  const std::string hidden = ", which this process does not see (is CUDA_VISIBLE_DEVICES set?)";
  return "group: device " + std::to_string(device) + " (" + all.devices[size_t(device)].uuid +
         ") cannot reach the memory of " + theirs.to_string() + (seen == all.devices.end() ? hidden : "") + ": " + why;
}

void check_reach(const Devices& all, const DeviceOffer& mine, const DeviceOffer& theirs, bool same_process) {
  const DeviceOffer& first = mine.rank < theirs.rank ? mine : theirs;
  const DeviceOffer& second = mine.rank < theirs.rank ? theirs : mine;
  if (!same_process && (first.way == MemoryWay::kPlain || second.way == MemoryWay::kPlain))
    throw Error(Code::kNotSupported, "group: the way plain is for ranks of one process, but " + first.to_string() +
                                         " and " + second.to_string() + " are in two");
  const auto number = [&](const std::string& uuid) {
    return size_t(std::find_if(all.devices.begin(), all.devices.end(),
                               [&](const DeviceInfo& info) { return info.uuid == uuid; }) -
                  all.devices.begin());
  };
  const size_t a = number(first.uuid), b = number(second.uuid);
  if (a == all.devices.size() || b == all.devices.size()) return;
  if (!all.peer[a][b] || !all.peer[b][a])
    throw Error(Code::kNotSupported,
                "group: no peer access between " + first.to_string() + " and " + second.to_string());
}

}  // namespace transload
