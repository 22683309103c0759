// What the scrambled fabric answers to fi_getinfo, and what it read of the environment when it was first asked.
#pragma once
#include <rdma/fabric.h>

#include <cstddef>

namespace scrambled {

constexpr size_t kWritesMost = 64;      // of an endpoint, at once: beyond it is -FI_EAGAIN
constexpr size_t kWriteMost = 1 << 20;  // bytes

size_t universe();  // FI_UNIVERSE_SIZE, or libfabric's default

}  // namespace scrambled
