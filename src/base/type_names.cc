// Naming types and devices.
#include "base/type_names.h"

#include <iterator>

namespace transload {

namespace {

// Names by type code, for all codes of DLPack 1.1. type_name() adds the number of bits to those before kFirstSized.
constexpr const char* kTypes[] = {"int",
                                  "uint",
                                  "float",
                                  "handle",
                                  "bfloat",
                                  "complex",
                                  "bool",
                                  "float8_e3m4",
                                  "float8_e4m3",
                                  "float8_e4m3b11fnuz",
                                  "float8_e4m3fn",
                                  "float8_e4m3fnuz",
                                  "float8_e5m2",
                                  "float8_e5m2fnuz",
                                  "float8_e8m0fnu",
                                  "float6_e2m3fn",
                                  "float6_e3m2fn",
                                  "float4_e2m1fn"};
constexpr uint8_t kFirstSized = kDLBoolCode;  // this name and all after it say how many bits the type has

}  // namespace

std::string type_name(DLDataType type) {
  const bool known = type.code < std::size(kTypes);
  std::string name = known ? kTypes[type.code] : "type code " + std::to_string(type.code) + " of ";
  if (!known || type.code < kFirstSized) name += std::to_string(type.bits);
  if (!known) name += " bits";
  if (type.lanes != 1) name += " x " + std::to_string(type.lanes);
  return name;
}

std::string place_of(DLDevice device) {
  if (device.device_type == kDLCPU) return "on the CPU";
  if (device.device_type == kDLCUDA) return "on cuda " + std::to_string(device.device_id);
  return "on device type " + std::to_string(int(device.device_type)) + ", " + std::to_string(device.device_id);
}

}  // namespace transload
