// What a rank tells the others of its link: how to write to its region. No libfabric in here.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace transload {

struct FabricAddress {
  static constexpr size_t kBytes = 256;  // of all, packed
  static constexpr size_t kTextMax = kBytes - 40;

  uint32_t rank = 0;
  uint64_t key = 0, base = 0, region_bytes = 0;
  std::string provider, endpoint;  // of kTextMax bytes together, at most; the latter as libfabric gives it

  std::string pack() const;
  // Throws Error{kInvalidArgument}, which names `rank`, if it is no address that this rank made.
  static FabricAddress unpack(uint32_t rank, std::string_view bytes);
};

}  // namespace transload
