// What holds in this build, and what a group was made for.
#pragma once
#include <cstddef>
#include <cstdint>

namespace transload {

// Bounds of this build. Beyond one: an Error that names the argument, the value and the bound, before anything moves.
struct Limits {
  uint32_t ranks_max;
  uint32_t node_size_max;
  uint32_t nodes_max;
  uint32_t streams_max;  // nodes x (largest node over smallest node, rounded up)
  uint32_t top_k_max;
  uint32_t channels_max;
  uint32_t slots_max;
  uint64_t token_bytes_max;  // of a row; a multiple of token_bytes_unit
  uint64_t token_bytes_unit;
  uint64_t tokens_max;
};
// Returns the bounds of the library that is linked.
Limits limits();

// Bytes of one rank of a group. Of the memory that others reach only the slabs grow with tokens.
struct MemoryReport {
  uint64_t ring_bytes;     // rings of both links; along rails that are not mapped, send and receive halves
  uint64_t counter_bytes;  // shared words, cards, mailboxes of counts
  uint64_t slab_bytes;     // room for leases
  uint64_t leased_bytes;   // of it, in use
  const char* ring_formula;
  // Memory that nobody else reaches: headers and scales of tokens_max, ring positions; on a GPU scratch of its kernels
  // too. A host touches it as tokens need it.
  uint64_t private_bytes = 0;
  // Pinned memory of the host, for ranks on GPUs. The rings along rails that are not mapped are in it.
  uint64_t host_bytes = 0;
};

}  // namespace transload
