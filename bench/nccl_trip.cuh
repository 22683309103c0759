// Dispatch and combine without Transload: permute, NCCL's sends and receives to and from every rank, gather-sum.
//
// It is written without much effort. A token is sent once to each rank with an expert of it. Counts are known
// beforehand, as in a cached dispatch. Rows are received in their final order, by (source rank, token), so nothing is
// unpermuted in dispatch or permuted in combine. A rank's rows for itself do not pass NCCL: permute stores them in
// their final place and gather-sum reads them there. Permute reads a token once, whatever the number of its ranks, and
// gather-sum adds in the order of Transload's contract, so results must be the same bytes. Both use all SMs.
#pragma once
#include <cuda_bf16.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bench/harness.cuh"
#include "bench/nccl.h"

namespace bench {

// Who sends how many rows to whom, and where those of my tokens lie.
struct Traffic {
  uint32_t me = 0;
  std::vector<std::vector<uint64_t>> sent;  // [source][destination] rows
  std::vector<int32_t> place;               // [tokens][ranks]: as Places::place

  uint32_t ranks() const { return uint32_t(sent.size()); }
  // Where the rows of a source begin in what this rank receives.
  uint64_t row_base(uint32_t source) const {
    uint64_t base = 0;
    for (uint32_t s = 0; s < source; ++s) base += sent[s][me];
    return base;
  }
  // Where the rows for a destination begin in what this rank sends to others.
  uint64_t packed_base(uint32_t destination) const {
    uint64_t base = 0;
    for (uint32_t d = 0; d < destination; ++d) base += d == me ? 0 : sent[me][d];
    return base;
  }
};

// Where the row of a token at a rank lies here: at `place` of what I receive if that rank is mine, else of what I send;
// -1: the rank has no expert of the token.
struct Places {
  const int32_t* place;  // [tokens][ranks]
  uint4 *received, *packed;
  uint32_t ranks, me, vectors;  // of a row

  __device__ uint4* of(uint32_t token, uint32_t rank) const {
    const int32_t p = __ldg(place + size_t(token) * ranks + rank);
    return p < 0 ? nullptr : (rank == me ? received : packed) + size_t(p) * vectors;
  }
};

// What the threads of all ranks share.
struct World {
  Nccl* nccl = nullptr;
  NcclId id{};
  std::vector<uint32_t> owner;              // [experts] rank
  std::vector<std::vector<uint64_t>> sent;  // as Traffic::sent
};

constexpr uint32_t kThreads = 256;  // a block is one token
constexpr uint32_t kAhead = 4;      // loads of a thread that are under way at once

static __global__ void __launch_bounds__(kThreads) permute(Places places, const uint4* x) {
  const uint4* const from = x + size_t(blockIdx.x) * places.vectors;
  for (uint32_t first = threadIdx.x; first < places.vectors; first += kThreads * kAhead) {
    uint4 pieces[kAhead];
#pragma unroll
    for (uint32_t a = 0; a < kAhead; ++a)
      if (first + a * kThreads < places.vectors) pieces[a] = __ldg(from + first + a * kThreads);
    for (uint32_t rank = 0; rank < places.ranks; ++rank) {
      uint4* const to = places.of(blockIdx.x, rank);
      if (to == nullptr) continue;
#pragma unroll
      for (uint32_t a = 0; a < kAhead; ++a)
        if (first + a * kThreads < places.vectors) to[first + a * kThreads] = pieces[a];
    }
  }
}

// How ranks are cut into nodes: sets of ranks.
struct NodeSets {
  uint64_t mine = 0;  // the ranks of my node
  uint64_t last = 0;  // the last rank of each node
};

static __device__ void add(float (&sum)[8], const uint4& row) {
  const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&row);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 both = __bfloat1622float2(pairs[j]);
    sum[2 * j] += both.x;
    sum[2 * j + 1] += both.y;
  }
}

// Adds a node's sum to that of all nodes, rounded as a wire would round it unless the node is this rank's.
static __device__ void add_node(float (&sum)[8], float (&node)[8], bool mine) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    sum[j] += mine ? node[j] : __bfloat162float(__float2bfloat16_rn(node[j]));
    node[j] = 0;
  }
}

template <bool kSeveralNodes>
static __global__ void __launch_bounds__(kThreads) gather_sum(Places places, NodeSets nodes, uint4* out) {
  uint4* const to = out + size_t(blockIdx.x) * places.vectors;
  for (uint32_t first = threadIdx.x; first < places.vectors; first += kThreads * kAhead) {
    float sums[kAhead][8] = {}, of_node[kSeveralNodes ? kAhead : 1][8] = {};
    for (uint32_t rank = 0; rank < places.ranks; ++rank) {
      const uint4* const from = places.of(blockIdx.x, rank);
      if (from != nullptr) {
        uint4 pieces[kAhead];
#pragma unroll
        for (uint32_t a = 0; a < kAhead; ++a)
          if (first + a * kThreads < places.vectors) pieces[a] = from[first + a * kThreads];
#pragma unroll
        for (uint32_t a = 0; a < kAhead; ++a) {
          if (first + a * kThreads >= places.vectors) break;
          if constexpr (kSeveralNodes)
            add(of_node[a], pieces[a]);
          else
            add(sums[a], pieces[a]);
        }
      }
      if constexpr (kSeveralNodes) {
        if ((nodes.last >> rank & 1) == 0) continue;
#pragma unroll
        for (uint32_t a = 0; a < kAhead; ++a) add_node(sums[a], of_node[a], (nodes.mine >> rank & 1) != 0);
      }
    }
#pragma unroll
    for (uint32_t a = 0; a < kAhead; ++a) {
      if (first + a * kThreads >= places.vectors) break;
      uint4 rounded;
      auto* const pairs = reinterpret_cast<__nv_bfloat162*>(&rounded);
#pragma unroll
      for (int j = 0; j < 4; ++j) pairs[j] = __floats2bfloat162_rn(sums[a][2 * j], sums[a][2 * j + 1]);
      to[first + a * kThreads] = rounded;
    }
  }
}

// One rank of the trip. The threads of all ranks make, call and leave theirs together, each with its device set.
class NcclTrip {
 public:
  NcclTrip(const Options& o, Nccl& nccl, const NcclId& id, const Traffic& traffic)
      : o_(o), nccl_(nccl), traffic_(traffic), row_bytes_(o.row_bytes()) {
    comm_ = nccl.join(id, int(traffic.ranks()), int(traffic.me));
    for (uint32_t first = 0, node = 0; node < o.nodes.size(); first += o.nodes[node++]) {
      nodes_.last |= uint64_t(1) << (first + o.nodes[node] - 1);
      if (traffic.me < first || traffic.me >= first + o.nodes[node]) continue;
      for (uint32_t rank = first; rank < first + o.nodes[node]; ++rank) nodes_.mine |= uint64_t(1) << rank;
    }
    received_ = room(traffic.row_base(traffic.ranks()));
    packed_ = room(traffic.packed_base(traffic.ranks()));
    must(cudaMalloc(&out_, size_t(o.tokens) * row_bytes_), "cudaMalloc");
    void* place = nullptr;
    must(cudaMalloc(&place, traffic.place.size() * sizeof(int32_t)), "cudaMalloc");
    must(cudaMemcpy(place, traffic.place.data(), traffic.place.size() * sizeof(int32_t), cudaMemcpyHostToDevice),
         "cudaMemcpy");
    places_ = {static_cast<const int32_t*>(place),
               static_cast<uint4*>(received_),
               static_cast<uint4*>(packed_),
               traffic.ranks(),
               traffic.me,
               row_bytes_ / uint32_t(sizeof(uint4))};
  }
  // Is called at the end, only if all went well: a rank that failed must not wait for the others.
  void leave() { nccl_.leave(comm_); }
  NcclTrip(const NcclTrip&) = delete;
  NcclTrip& operator=(const NcclTrip&) = delete;

  void* received() const { return received_; }  // rows: dispatch's output, combine's input
  void* packed() const { return packed_; }
  void* out() const { return out_; }  // combined tokens
  uint64_t received_bytes() const { return traffic_.row_base(traffic_.ranks()) * row_bytes_; }
  uint64_t packed_bytes() const { return traffic_.packed_base(traffic_.ranks()) * row_bytes_; }

  void dispatch(const void* x, cudaStream_t stream) {
    permute<<<o_.tokens, kThreads, 0, stream>>>(places_, static_cast<const uint4*>(x));
    must(cudaGetLastError(), "permute");
    const Nccl::End end{comm_, stream};
    nccl_.group_start();
    each_other([&](uint32_t other) {
      if (const uint64_t rows = traffic_.sent[traffic_.me][other]; rows > 0)
        nccl_.send(end, int(other), at(packed_, traffic_.packed_base(other)), rows * row_bytes_);
      if (const uint64_t rows = traffic_.sent[other][traffic_.me]; rows > 0)
        nccl_.recv(end, int(other), at(received_, traffic_.row_base(other)), rows * row_bytes_);
    });
    nccl_.group_end();
  }

  void combine(cudaStream_t stream) {
    const Nccl::End end{comm_, stream};
    nccl_.group_start();
    each_other([&](uint32_t other) {
      if (const uint64_t rows = traffic_.sent[other][traffic_.me]; rows > 0)
        nccl_.send(end, int(other), at(received_, traffic_.row_base(other)), rows * row_bytes_);
      if (const uint64_t rows = traffic_.sent[traffic_.me][other]; rows > 0)
        nccl_.recv(end, int(other), at(packed_, traffic_.packed_base(other)), rows * row_bytes_);
    });
    nccl_.group_end();
    auto* const out = static_cast<uint4*>(out_);
    if (o_.nodes.size() == 1)
      gather_sum<false><<<o_.tokens, kThreads, 0, stream>>>(places_, nodes_, out);
    else
      gather_sum<true><<<o_.tokens, kThreads, 0, stream>>>(places_, nodes_, out);
    must(cudaGetLastError(), "gather_sum");
  }

 private:
  // Visits other ranks, the next one first, so that not all ranks send to the same one.
  template <class F>
  void each_other(F visit) const {
    for (uint32_t step = 1; step < traffic_.ranks(); ++step) visit((traffic_.me + step) % traffic_.ranks());
  }
  void* room(uint64_t rows) const {
    const size_t bytes = (rows + 1) * row_bytes_;
    if (o_.nccl_register != 0) return nccl_.registered(comm_, bytes);
    void* memory = nullptr;
    must(cudaMalloc(&memory, bytes), "cudaMalloc");
    return memory;
  }
  char* at(void* memory, uint64_t row) const { return static_cast<char*>(memory) + row * row_bytes_; }

  const Options& o_;
  Nccl& nccl_;
  const Traffic traffic_;
  const uint32_t row_bytes_;
  NcclComm comm_ = nullptr;
  NodeSets nodes_;
  Places places_{};
  void *received_ = nullptr, *packed_ = nullptr, *out_ = nullptr;
};

}  // namespace bench
