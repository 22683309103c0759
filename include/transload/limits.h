// The bounds of this build, and the memory that a group takes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace transload {

// Bounds of this build. Whatever is beyond a bound is refused, before anything moves, with an Error that names the
// argument, the value and the bound.
struct Limits {
  uint32_t ranks_max;
  uint32_t node_size_max;
  uint32_t nodes_max;
  uint32_t streams_max;  // nodes x (largest node / smallest node, rounded up)
  uint32_t top_k_max;
  uint32_t channels_max;
  uint32_t slots_max;
  uint64_t token_bytes_max;  // the longest row; a multiple of token_bytes_unit
  uint64_t token_bytes_unit;
  uint64_t tokens_max;
};
// Returns the bounds of the library that is linked.
Limits limits();

// The bytes of one rank of a group. Of the memory that others reach, only the slabs grow with tokens.
struct MemoryReport {
  uint64_t ring_bytes;     // rings between peers and along rails; unmapped rails have send and receive halves
  uint64_t counter_bytes;  // shared words, cards, mailboxes of counts
  uint64_t slab_bytes;     // room for leases
  uint64_t leased_bytes;   // the part of slab_bytes in use
  // How ring_bytes follows from the options of the group, for people.
  const char* ring_formula;
  // Memory that no other rank reaches: headers and scales of tokens_max, ring positions, and on a GPU scratch memory of
  // its kernels. On a host its pages are touched only when tokens need them.
  uint64_t private_bytes = 0;
  // Pinned memory of the host, for ranks on GPUs. It contains the rings along rails that are not mapped, unless these
  // rings lie on the GPU.
  uint64_t host_bytes = 0;
};

}  // namespace transload
