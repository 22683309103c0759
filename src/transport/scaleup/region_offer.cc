// Packing and reading an offer: see region_offer.h.
#include "transport/scaleup/region_offer.h"

#include "base/bytes.h"
#include "base/malformed.h"
#include "transload/status.h"

namespace transload {

std::string RegionOffer::pack() const {
  ByteWriter writer;
  process.pack(writer.text(host).u32(user))
      .u64(region)
      .u64(secret)
      .u64(base)
      .u64(bytes)
      .u64(parts.network_bytes)
      .u64(parts.scale_up_bytes)
      .u64(parts.slab_bytes)
      .text(kind)
      .text(handle);
  return writer.take();
}

RegionOffer RegionOffer::unpack(std::string_view packed) {
  ByteReader reader(packed);
  RegionOffer offer;
  offer.host = reader.text();
  offer.user = reader.u32();
  offer.process = ProcessIdentity::unpack(reader);
  offer.region = reader.u64();
  offer.secret = reader.u64();
  offer.base = reader.u64();
  offer.bytes = reader.u64();
  offer.parts = {reader.u64(), reader.u64(), reader.u64()};
  offer.kind = reader.text();
  offer.handle = reader.text();
  if (!reader.done()) throw malformed("group: a rank's offer of memory");
  const uint64_t needed = offer.parts.bytes();
  if (needed > offer.bytes || needed == kTooLarge)
    throw Error(Code::kInvalidArgument,
                "group: a rank offers " + std::to_string(offer.bytes) + " bytes of memory, must be at least the " +
                    (needed == kTooLarge ? "2^64 or more" : std::to_string(needed)) + " of its parts");
  return offer;
}

}  // namespace transload
