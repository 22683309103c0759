// Counting who is on a GPU, inside this process and among the ranks of a group.
#include "runtime/device_share.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/bytes.h"
#include "gpu/device_info.h"
#include "runtime/said.h"
#include "transload/status.h"

namespace transload {

namespace {

struct Taken {
  uint64_t sms = 0;
  uint64_t queues = 0;
  uint64_t holders = 0;  // ranks in this process
};

// What the ranks of a group take of the GPU of `mine`: SMs for all these ranks, and a hardware queue for each rank in
// the process of `mine`.
Taken taken_on(const std::vector<DeviceUse>& uses, const DeviceUse& mine) {
  Taken sum;
  for (const DeviceUse& use : uses) {
    if (use.uuid != mine.uuid) continue;
    sum.sms += use.sms;
    sum.queues += use.process == mine.process;
  }
  return sum;
}

std::string queues_refused(uint64_t ranks, uint64_t most) {
  return "device: " + std::to_string(ranks) + " ranks of one process on a GPU, must be at most " +
         std::to_string(most) +
         ": CUDA_DEVICE_MAX_CONNECTIONS, which is 8 unless it was set before CUDA starts, and at most 32";
}

// What groups of this process took, by device, then by group.
struct Ledger {
  std::mutex mutex;
  std::map<std::string, std::map<uint64_t, Taken>> devices;
};

Ledger& ledger() {
  static Ledger& one = *new Ledger;  // outlives every group
  return one;
}

}  // namespace

std::string DeviceUse::pack() const {
  ByteWriter said;
  process.pack(said.text(uuid).u32(sms).u32(device_sms).u8(mps)).u64(group).u32(queues);
  return said.take();
}

DeviceUse DeviceUse::unpack(std::string_view text) {
  ByteReader reader(text);
  DeviceUse use;
  use.uuid = reader.text();
  use.sms = reader.u32();
  use.device_sms = reader.u32();
  use.mps = reader.flag();
  use.process = ProcessIdentity::unpack(reader);
  use.group = reader.u64();
  use.queues = reader.u32();
  if (!reader.done() || use.group == 0) throw malformed_of_rank("its GPU");  // 0 stands for no group
  const auto check = [](const char* what, uint64_t value, uint64_t most) {
    if (value < 1 || value > most) throw out_of_bounds(what, value, 1, most);
  };
  check("the SMs of its GPU", use.device_sms, ~uint32_t(0));
  check("the SMs that it takes", use.sms, use.device_sms);
  check("the queues of its process", use.queues, kDeviceQueuesMax);
  return use;
}

void check_device_uses(const std::vector<DeviceUse>& uses) {
  for (size_t first = 0; first < uses.size(); ++first) {
    const DeviceUse& one = uses[first];
    std::string ranks;
    uint32_t device_sms = one.device_sms;  // under MPS a process may see fewer than another process
    for (size_t r = 0; r < uses.size(); ++r) {
      const DeviceUse& other = uses[r];
      if (other.uuid != one.uuid) continue;
      ranks += (ranks.empty() ? "" : ", ") + std::to_string(r);
      device_sms = std::min(device_sms, other.device_sms);
      if (!(other.process == one.process) && !(other.mps && one.mps))
        throw Error(Code::kInvalidArgument,
                    "device: ranks " + std::to_string(first) + " and " + std::to_string(r) + " are on " + one.uuid +
                        " in different processes, must be threads of one, or on GPUs of their own: without MPS "
                        "kernels of two processes take turns there, and these wait for each other");
    }
    const Taken all = taken_on(uses, one);
    if (all.queues > one.queues) throw Error(Code::kInvalidArgument, queues_refused(all.queues, one.queues));
    if (all.sms > device_sms)
      throw Error(Code::kInvalidArgument, "sms: " + std::to_string(one.sms) + " on each of the ranks " + ranks +
                                              " of one GPU, must be at most " + std::to_string(device_sms) +
                                              " in all: their blocks wait for each other");
  }
}

DeviceReservation::DeviceReservation(const std::vector<DeviceUse>& uses, const DeviceUse& mine) {
  const Taken wanted = taken_on(uses, mine);
  const uint64_t group = uses.at(0).group;
  Ledger& all = ledger();
  const std::lock_guard lock(all.mutex);
  std::map<uint64_t, Taken>& groups = all.devices[mine.uuid];
  Taken others;
  for (const auto& [other, taken] : groups) {
    if (other == group) continue;
    others.sms += taken.sms;
    others.queues += taken.queues;
  }
  if (wanted.queues + others.queues > mine.queues)
    throw Error(Code::kInvalidArgument, queues_refused(wanted.queues + others.queues, mine.queues));
  if (wanted.sms + others.sms > mine.device_sms)
    throw Error(Code::kInvalidArgument,
                "sms: " + std::to_string(mine.sms) + ", " + std::to_string(wanted.sms) +
                    " in all of this group's ranks on a GPU, must be at most " +
                    std::to_string(mine.device_sms - std::min<uint64_t>(others.sms, mine.device_sms)) +
                    ": other groups of this process hold " + std::to_string(others.sms) + " of its " +
                    std::to_string(mine.device_sms));
  Taken& taken = groups[group];
  taken.sms = wanted.sms;
  taken.queues = wanted.queues;
  ++taken.holders;
  uuid_ = mine.uuid;
  group_ = group;
}

DeviceReservation& DeviceReservation::operator=(DeviceReservation&& other) noexcept {
  if (this == &other) return *this;
  release();
  uuid_ = std::move(other.uuid_);
  group_ = std::exchange(other.group_, 0);
  return *this;
}

void DeviceReservation::release() {
  const uint64_t group = std::exchange(group_, 0);
  if (group == 0) return;
  Ledger& all = ledger();
  const std::lock_guard lock(all.mutex);
  const auto device = all.devices.find(uuid_);
  if (--device->second[group].holders > 0) return;
  device->second.erase(group);
  if (device->second.empty()) all.devices.erase(device);
}

}  // namespace transload
