// Memory that was registered, checked against what was said of it. A GPU's is memory that this process may not touch
// where it lies: a shared mapping without any permission. The device reaches it through a mapping of its own, made from
// what it was told: the dma-buf, or the address.
#pragma once
#include <rdma/fi_domain.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace scrambled {

// Ends with the registration.
struct Mapping {
  char* at = nullptr;
  size_t bytes = 0;
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  ~Mapping();
};

struct Registration {
  char* at;
  size_t bytes;
  uint64_t access;
  char* reach;  // where its bytes are for the device
  std::shared_ptr<Mapping> mapping;
};

using Registrations = std::map<uint64_t, Registration>;  // by key

// 0, or why not, as libfabric says it. What a caller may have promised of the endpoint: it was told to call no CUDA.
int check_memory(const fi_mr_attr& attr, uint64_t flags, bool calls_no_cuda, Registration& memory);

}  // namespace scrambled
