// Packing and reading an address: see address.h.
#include "transport/scaleout/libfabric/address.h"

#include <transload/status.h>

#include "base/bytes.h"
#include "base/check.h"

namespace transload {

namespace {

constexpr uint32_t kMagic = 0x32464C54;  // "TLF2"

}  // namespace

std::string FabricAddress::pack() const {
  TRANSLOAD_CHECK(provider.size() + endpoint.size() <= kTextMax);
  std::string bytes =
      ByteWriter().u32(kMagic).u32(rank).u64(key).u64(base).u64(region_bytes).text(provider).text(endpoint).take();
  bytes.resize(kBytes);
  return bytes;
}

FabricAddress FabricAddress::unpack(uint32_t rank, std::string_view bytes) {
  const std::string whose = "address of rank " + std::to_string(rank) + ": ";
  if (bytes.size() != kBytes)
    throw Error(Code::kInvalidArgument,
                whose + std::to_string(bytes.size()) + " bytes, must be " + std::to_string(kBytes));
  ByteReader reader(bytes);
  const bool ours = reader.u32() == kMagic;
  FabricAddress address;
  address.rank = reader.u32();
  address.key = reader.u64();
  address.base = reader.u64();
  address.region_bytes = reader.u64();
  address.provider = reader.text();
  address.endpoint = reader.text();
  if (!ours || address.rank != rank || !reader.padded())
    throw Error(Code::kInvalidArgument, whose + "not one that a libfabric link of that rank made");
  return address;
}

}  // namespace transload
