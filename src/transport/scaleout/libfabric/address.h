// What a rank tells the others of its link: how to write to its region. This file needs no libfabric.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace transload {

struct FabricAddress {
  static constexpr size_t kBytes = 256;  // length of a packed address, whatever its texts
  static constexpr size_t kTextMax = kBytes - 40;

  uint32_t rank = 0;
  uint64_t key = 0, base = 0, region_bytes = 0;
  std::string provider, endpoint;  // together at most kTextMax bytes; `endpoint` is the address that libfabric gives

  std::string pack() const;
  // Throws Error{kInvalidArgument}, which names `rank`, if that rank did not pack these bytes.
  static FabricAddress unpack(uint32_t rank, std::string_view bytes);
};

}  // namespace transload
