// What ranks say of themselves while a group is made: refused in one sentence, or it is what such a rank would say,
// and what is made of the words of all lies within its bounds.
//
// Input: which words, then these words. Of a heap: of three ranks, each with its length before it.
#include <algorithm>

#include "base/bytes.h"
#include "runtime/device_share.h"
#include "runtime/network/heap_facts.h"
#include "runtime/said.h"
#include "tests/fuzz/target.h"
#include "transload/status.h"
#include "transport/scaleout/libfabric/address.h"
#include "transport/scaleup/nvlink/device_offer.h"
#include "transport/scaleup/region_offer.h"

namespace transload {
namespace {

constexpr uint32_t kRank = 3;  // that speaks, where a rank is named

// What is read says the same once it is packed: nothing of it is lost or made up.
template <class Said>
Said read(std::string_view bytes) {
  Said said = Said::unpack(bytes);
  TRANSLOAD_CHECK(said.pack() == bytes);
  return said;
}

void read_region(std::string_view bytes) {
  const auto offer = read<RegionOffer>(bytes);
  const RegionParts& parts = offer.parts;
  TRANSLOAD_CHECK(parts.network_bytes <= offer.bytes && parts.scale_up_bytes <= offer.bytes - parts.network_bytes);
  TRANSLOAD_CHECK(parts.slab_bytes <= offer.bytes - parts.network_bytes - parts.scale_up_bytes);
}

// All of a device can be reserved by one group after another: a reservation ends with who made it, whatever was said.
void reserve_all(DeviceUse use) noexcept {
  use.sms = use.device_sms;
  check_device_uses({use});
  for (const uint64_t group : {use.group, uint64_t(use.group == 1 ? 2 : 1)}) {
    use.group = group;
    const DeviceReservation reservation({use}, use);
  }
}

void read_use(std::string_view bytes) {
  const auto use = read<DeviceUse>(bytes);
  TRANSLOAD_CHECK(use.sms >= 1 && use.sms <= use.device_sms && use.queues >= 1);
  reserve_all(use);
}

void read_device(std::string_view bytes) {
  const DeviceOffer offer = DeviceOffer::unpack({kRank, 4096, bytes});
  TRANSLOAD_CHECK(offer.pack() == bytes && *name_of(offer.way) != 0);
  check_reach({}, {}, offer, true);
}

void read_address(std::string_view bytes) {
  const FabricAddress address = FabricAddress::unpack(kRank, bytes);
  TRANSLOAD_CHECK(address.pack() == bytes);
  TRANSLOAD_CHECK(address.provider.size() + address.endpoint.size() <= FabricAddress::kTextMax);
}

void read_network(std::string_view bytes) {
  const NetworkSaid network = NetworkSaid::unpack(bytes, {false, false, true});
  TRANSLOAD_CHECK(network.kinds.size() == 3 && network.kinds[0] != KindSaid::kUnmapped && network.pack() == bytes);
}

void read_failure(std::string_view bytes) {
  const auto step = read<StepSaid>(bytes);
  TRANSLOAD_CHECK(step.code != Code::kFault && (step.code != Code::kOk || step.why.empty()));
}

// Two ranks whose lists of options are not alike: the line is told, and it is one of each.
void read_options(std::string_view bytes) {
  const auto options = read<OptionsSaid>(bytes);
  const std::string_view all = options.items;
  const std::string_view one = all.substr(0, all.size() / 2), other = all.substr(all.size() / 2);
  const LinesApart apart = first_difference(one, other);
  TRANSLOAD_CHECK(one.find(apart.one) != std::string_view::npos && other.find(apart.other) != std::string_view::npos);
  TRANSLOAD_CHECK(apart.one.find('\n') == std::string::npos && apart.other.find('\n') == std::string::npos);
}

// Rails join ranks 0 and 2; rank 1 is of a world of its own.
void read_heap(std::string_view bytes) {
  const std::vector<uint32_t> worlds{0, 1, 0};
  ByteReader reader(bytes);
  std::vector<HeapFacts> facts;
  for (size_t r = 0; r < worlds.size(); ++r) facts.push_back(read<HeapFacts>(reader.text()));
  if (!heap_refusal(facts, worlds).empty()) return;
  TRANSLOAD_CHECK(facts[0].blocks.size() == facts[2].blocks.size());
  const uint64_t bytes_needed = reader.u32();
  const size_t block = free_block(facts, worlds, 0, bytes_needed);
  TRANSLOAD_CHECK(block <= facts[0].blocks.size());
  if (block == facts[0].blocks.size()) return;
  for (const uint32_t r : {0, 2}) {
    const NvshmemWorld::HeapPart& part = facts[r].blocks[block];
    TRANSLOAD_CHECK(part.bytes >= bytes_needed && !part.taken);
  }
}

void read_places(std::string_view bytes) {
  const std::vector<uint32_t> worlds{0, 1, 0, 0};
  ByteReader reader(bytes);
  std::vector<uint32_t> pes;
  std::vector<HeapFacts> facts(worlds.size());
  std::vector<WorldSaid> said;
  for (size_t r = 0; r < worlds.size(); ++r) {
    pes.push_back(PeSaid::unpack(reader.text()));
    said.push_back(read<WorldSaid>(reader.text()));
  }
  if (world_refusal(facts, worlds, said).empty()) TRANSLOAD_CHECK(said[0].number != 0 && said[1].number != 0);
  if (!pe_refusal(pes, worlds).empty()) return;
  std::vector<uint32_t> of_three{pes[0], pes[2], pes[3]};
  std::sort(of_three.begin(), of_three.end());
  TRANSLOAD_CHECK(of_three == std::vector<uint32_t>({0, 1, 2}) && pes[1] == 0);
}

void read_process(std::string_view bytes) { TRANSLOAD_CHECK(ProcessSaid::pack(ProcessSaid::unpack(bytes)) == bytes); }

void read_memory(std::string_view bytes) {
  const auto memory = read<MemorySaid>(bytes);
  TRANSLOAD_CHECK(one_machine(memory.host, memory.host));
}

constexpr void (*kReaders[])(std::string_view) = {read_region,  read_use,     read_device,  read_address,
                                                  read_network, read_failure, read_options, read_heap,
                                                  read_places,  read_process, read_memory};

}  // namespace
}  // namespace transload

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace transload;
  if (bytes == 0) return 0;
  const std::string_view words = text_of(data + 1, bytes - 1);
  try {
    kReaders[data[0] % std::size(kReaders)](words);
  } catch (const Error& error) {
    TRANSLOAD_CHECK(error.code() == Code::kInvalidArgument && *error.what() != 0);
  }
  return 0;
}
