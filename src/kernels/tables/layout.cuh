// LAYOUT: what lay_out() (layout/plan.h) does, by a few blocks of a device.
//
//   reads    the router's choices and weights, scales
//   writes   headers, staged scales, routes, the records of counts that notify sends, its part of the report
//   ends     when all blocks have counted, and each has written its share of the records
//
// A tile of tokens is counted by bits: one for each (token, column), so duplicates count once, and the order of the
// threads does not matter.
#pragma once
#include <cstdint>

#include "kernels/block_wait.cuh"
#include "kernels/tables/headers.cuh"
#include "kernels/tables/layout_memory.cuh"
#include "layout/channels.h"

namespace transload {

class LayoutBlock {
 public:
  TRANSLOAD_DEVICE LayoutBlock(const LayoutLaunch& launch, char* near)
      : a_(launch.args),
        shape_(launch.tile),
        near_(launch.tile, near),
        shared_(launch.shared),
        tiles_(launch.tiles),
        use_(launch.args.call.state->notify_uses + 1) {
    expert_ = shape_.bytes > shape_.experts ? reinterpret_cast<uint32_t*>(near + shape_.experts)
                                            : shared_.expert + uint64_t(blockIdx.x) * a_.experts.experts;
    for (uint32_t i = 0; i < kEach; ++i) choices_[i] = TileChoice(threadIdx.x + i * kLayoutThreads, a_.shape.top_k);
  }

  TRANSLOAD_DEVICE void run() {
    if (given_up(a_.call)) return;
    begin();
    for (uint32_t t = blockIdx.x; t < tiles_; t += gridDim.x)
      if (!run_tile(t)) return;
    if (!end_counts()) return;
    write_records();
    if (blockIdx.x == 0 && threadIdx.x == 0) report();
  }

 private:
  static constexpr uint32_t kEach = TileShape::kChoicesMax / kLayoutThreads;  // choices that one thread takes

  struct TileChoice {
    uint32_t place;  // place in the tile: token * 32 + slot
    int32_t expert;  // -1: none
    float weight;
    uint32_t rank, node;  // columns that no other choice of the token had marked before this one, or kNobody

    TileChoice() = default;
    TRANSLOAD_DEVICE TileChoice(uint32_t number, uint32_t top_k) : place(number / top_k * 32 + number % top_k) {}
    TRANSLOAD_DEVICE uint32_t token() const { return place / 32; }
    TRANSLOAD_DEVICE uint32_t slot() const { return place % 32; }
  };

  TRANSLOAD_DEVICE void begin() {
    for (uint32_t e = threadIdx.x; e < a_.experts.experts; e += kLayoutThreads) expert_[e] = 0;
    for (uint32_t c = threadIdx.x; c < shape_.columns; c += kLayoutThreads) near_.carry[c] = 0;
    if (threadIdx.x == 0) *near_.bad = ~0ull;
  }

  TRANSLOAD_DEVICE bool run_tile(uint32_t t) {
    const uint64_t first = uint64_t(t) * shape_.tokens, left = a_.routing.tokens - first;
    tile_ = {first, uint32_t(left < shape_.tokens ? left : shape_.tokens)};
    if (a_.routing.expert32)
      load(a_.routing.expert32);
    else
      load(a_.routing.expert64);
    for (uint32_t i = threadIdx.x; i < shape_.groups * shape_.columns; i += kLayoutThreads) near_.marked[i] = 0;
    for (uint32_t i = threadIdx.x; i < shape_.tokens * shape_.set_words; i += kLayoutThreads) near_.sets[i] = 0;
    __syncthreads();
    mark();
    __syncthreads();
    count(shared_.tile + uint64_t(SharedCounts::tile_index(t, gridDim.x)) * shape_.columns);
    __syncthreads();
    if (threadIdx.x == 0)
      publish_here(shared_.tile_word + SharedCounts::tile_index(t, gridDim.x), SharedCounts::tile_tag(use_, t));
    stage_scales(a_.scales, a_.shape, a_.staged_scales, tile_);
    if (!wait_for_tiles(t)) return false;
    carry_on(t);
    __syncthreads();
    stage();
    __syncthreads();
    emit();
    note_channels();
    __syncthreads();
    return true;
  }

  TRANSLOAD_DEVICE bool in_tile(const TileChoice& c) const { return c.token() < tile_.count; }

  // Reads of all choices are under way before the first is looked at.
  template <class Id>
  TRANSLOAD_DEVICE void load(const Id* ids) {
    const uint64_t first = tile_.first * a_.shape.top_k;
    Id read[kEach];
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      const uint64_t at = first + threadIdx.x + i * kLayoutThreads;
      read[i] = in_tile(choices_[i]) ? ids[at] : Id(-1);
      choices_[i].weight = in_tile(choices_[i]) ? a_.routing.weight[at] : 0;
    }
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      const bool good = read[i] >= -1 && int64_t(read[i]) < int64_t(a_.experts.experts);
      choices_[i].expert = good ? int32_t(read[i]) : -1;
      if (!good) note_bad(first + threadIdx.x + i * kLayoutThreads);
    }
  }

  TRANSLOAD_DEVICE void note_bad(Word choice) { bad_ = choice < bad_ ? choice : bad_; }

  // True if no other choice of the token had marked this column.
  TRANSLOAD_DEVICE bool mark_column(uint32_t token, uint32_t column) {
    const uint32_t bit = 1u << column % 32;
    if (atomicOr(near_.sets + token * shape_.set_words + column / 32, bit) & bit) return false;
    atomicOr(near_.marked + token / 32 * shape_.columns + column, 1u << token % 32);
    return true;
  }

  TRANSLOAD_DEVICE void mark() {
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      TileChoice& c = choices_[i];
      c.rank = c.expert < 0 ? kNobody : a_.experts.owner[c.expert];
      if (c.expert >= 0) atomicAdd(expert_ + a_.experts.place[c.expert], 1u);
    }
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) choices_[i].node = node_of(choices_[i].rank);
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      TileChoice& c = choices_[i];
      if (c.rank != kNobody && !mark_column(c.token(), c.rank)) c.rank = c.node = kNobody;
      if (c.node != kNobody && !mark_column(c.token(), c.node)) c.node = kNobody;
    }
  }

  // The column of a rank's node, unless it is mine.
  TRANSLOAD_DEVICE uint32_t node_of(uint32_t rank) const {
    if (rank == kNobody || a_.map.nodes == 1) return kNobody;
    const uint32_t node = a_.map.node_of[rank];
    return node == a_.map.node ? kNobody : a_.map.ranks + node;
  }

  TRANSLOAD_DEVICE void count(uint32_t* tile_counts) {
    for (uint32_t c = threadIdx.x; c < shape_.columns; c += kLayoutThreads) {
      uint32_t tokens = 0;
      for (uint32_t g = 0; g < shape_.groups; ++g) {
        near_.before[g * shape_.columns + c] = tokens;
        tokens += __popc(near_.marked[g * shape_.columns + c]);
      }
      tile_counts[c] = tokens;
    }
  }

  // How many tiles lie between this one and the last one of the same block.
  TRANSLOAD_DEVICE uint32_t tiles_between(uint32_t t) const { return t < gridDim.x ? t : gridDim.x - 1; }

  TRANSLOAD_DEVICE bool wait_for_tiles(uint32_t t) {
    bool here = true;
    if (threadIdx.x < tiles_between(t)) {
      const uint32_t other = t - 1 - threadIdx.x;
      here = await(a_.call, {shared_.tile_word + SharedCounts::tile_index(other, gridDim.x),
                             SharedCounts::tile_tag(use_, other), a_.map.me});
    }
    return __syncthreads_and(here);
  }

  // Sums up what lies before the tile. The counts of the tiles between are slow to load, so each is loaded by a thread
  // of its own.
  TRANSLOAD_DEVICE void carry_on(uint32_t t) {
    const uint32_t others = tiles_between(t), last = (shape_.groups - 1) * shape_.columns;
    const uint32_t place = SharedCounts::tile_index(t, gridDim.x), places = SharedCounts::kTilesPerBlock * gridDim.x;
    for (uint32_t c = threadIdx.x; c < shape_.columns; c += kLayoutThreads) near_.start[c] = near_.carry[c];
    __syncthreads();
    for (uint32_t n = threadIdx.x; n < others * shape_.columns; n += kLayoutThreads) {
      const uint32_t i = n / shape_.columns + 1, c = n % shape_.columns;
      atomicAdd(near_.start + c,
                shared_.tile[uint64_t(place < i ? place + places - i : place - i) * shape_.columns + c]);
    }
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < shape_.columns; c += kLayoutThreads)
      near_.carry[c] = near_.start[c] + near_.before[last + c] + __popc(near_.marked[last + c]);
  }

  // Tokens before this one, of all of mine, that go to the column.
  TRANSLOAD_DEVICE uint32_t ordinal(uint32_t token, uint32_t column) const {
    const uint32_t at = token / 32 * shape_.columns + column;
    return near_.start[column] + near_.before[at] + __popc(near_.marked[at] & ((1u << token % 32) - 1));
  }

  // How many columns below `column` the token goes to.
  TRANSLOAD_DEVICE uint32_t below(uint32_t token, uint32_t column) const {
    const uint32_t* set = near_.sets + token * shape_.set_words;
    uint32_t found = 0;
    for (uint32_t w = 0; w < column / 32; ++w) found += __popc(set[w]);
    return column % 32 == 0 ? found : found + __popc(set[column / 32] & ((1u << column % 32) - 1));
  }

  TRANSLOAD_DEVICE Route* staged(uint32_t token) const { return near_.staged + token * 2 * a_.shape.top_k; }

  // The columns of each token in ascending order.
  TRANSLOAD_DEVICE void stage() {
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      const TileChoice& c = choices_[i];
      if (c.rank != kNobody) stage(c.token(), c.rank);
      if (c.node != kNobody) stage(c.token(), c.node);
    }
  }

  TRANSLOAD_DEVICE void stage(uint32_t token, uint32_t column) const {
    staged(token)[below(token, column)] = {column, ordinal(token, column)};
  }

  // Each choice writes the entry of the header and the route that have its number.
  TRANSLOAD_DEVICE void emit() {
#pragma unroll
    for (uint32_t i = 0; i < kEach; ++i) {
      const TileChoice& c = choices_[i];
      if (!in_tile(c)) continue;
      const uint64_t token = tile_.first + c.token();
      const uint32_t owners = below(c.token(), a_.map.ranks);
      const Route owner = c.slot() < owners ? staged(c.token())[c.slot()] : Route{kNobody, 0};
      Header* const header = header_of(a_.headers, a_.shape, token);
      store(header->entries() + c.slot(), {owner.target, owner.ordinal, c.expert, c.weight});
      if (c.slot() == 0) store(header, {a_.map.me, uint32_t(token), owners, a_.shape.top_k});
      a_.routes[token * a_.shape.top_k + c.slot()] = route(c, owners);
    }
  }

  // Owners among my peers come first, then other nodes.
  TRANSLOAD_DEVICE Route route(const TileChoice& c, uint32_t owners) const {
    const uint32_t first = a_.map.node_begin[a_.map.node];
    const uint32_t lower = below(c.token(), first), near = below(c.token(), first + a_.map.peers) - lower;
    if (c.slot() < near) {
      const Route to = staged(c.token())[lower + c.slot()];
      return {to.target - first, to.ordinal};
    }
    const uint32_t at = owners + c.slot() - near;
    if (at >= below(c.token(), shape_.columns)) return {kNoRoute, 0};
    const Route to = staged(c.token())[at];
    return {to.target - a_.map.ranks + a_.map.peers, to.ordinal};
  }

  // Counts by channel are differences of what comes before each channel's first token.
  TRANSLOAD_DEVICE void note_channels() {
    const Cut cut{a_.routing.tokens, a_.channels};
    const uint64_t end = tile_.first + tile_.count;
    const uint32_t first = uint32_t(ceil_div(tile_.first * a_.channels, cut.tokens));
    const uint32_t starts = uint32_t(ceil_div(end * a_.channels, cut.tokens)) - first;
    for (uint32_t i = threadIdx.x; i < starts * shape_.columns; i += kLayoutThreads) {
      const uint32_t channel = first + i / shape_.columns, column = i % shape_.columns;
      starts_of(column)[channel] = ordinal(uint32_t(cut.begin(channel) - tile_.first), column);
    }
    if (end < cut.tokens) return;
    for (uint32_t c = threadIdx.x; c < shape_.columns; c += kLayoutThreads) starts_of(c)[a_.channels] = near_.carry[c];
  }

  TRANSLOAD_DEVICE uint32_t* starts_of(uint32_t column) const {
    return shared_.starts + uint64_t(column) * (a_.channels + 1);
  }

  // Shows what this block has counted, and waits for all others.
  TRANSLOAD_DEVICE bool end_counts() {
    uint32_t* const mine = shared_.expert + uint64_t(blockIdx.x) * a_.experts.experts;
    __syncthreads();
    if (mine != expert_)
      for (uint32_t e = threadIdx.x; e < a_.experts.experts; e += kLayoutThreads) mine[e] = expert_[e];
    if (bad_ != ~Word(0)) atomicMin(near_.bad, static_cast<unsigned long long>(bad_));
    __syncthreads();
    if (threadIdx.x == 0) {
      shared_.bad[blockIdx.x] = *near_.bad;
      publish_here(shared_.done_word + blockIdx.x, use_);
    }
    bool here = true;
    if (threadIdx.x < gridDim.x) here = await(a_.call, {shared_.done_word + threadIdx.x, use_, a_.map.me});
    return __syncthreads_and(here);
  }

  // Each warp writes 32 words of a record at a time, a lane each, because each word takes a chain of loads.
  TRANSLOAD_DEVICE void write_records() const {
    const Geometry& g = a_.geometry;
    const uint32_t of_peers = a_.map.peers, of_nodes = a_.map.nodes * g.node_size_max;
    const uint32_t warps = gridDim.x * kLayoutThreads / 32, warp = (blockIdx.x * kLayoutThreads + threadIdx.x) / 32;
    const uint32_t pieces = uint32_t(ceil_div(g.counts_bytes() / 4, 32));
    for (uint32_t i = warp; i < (of_peers + of_nodes + a_.map.nodes) * pieces; i += warps) {
      const uint32_t which = i / pieces, word = i % pieces * 32 + threadIdx.x % 32;
      if (which < of_peers) {
        write_rank_word(a_.counts_to_peers + which * g.counts_bytes(), a_.map.peer_rank(which), word);
        continue;
      }
      const uint32_t number = which - of_peers;
      if (number >= of_nodes) {
        write_node_word(number - of_nodes, word);
        continue;
      }
      const uint32_t node = number / g.node_size_max, peer = number % g.node_size_max;
      char* const record = a_.counts_to_nodes + node * g.node_counts_bytes() + g.counts().of_peer(peer);
      write_rank_word(record, peer < a_.map.node_size(node) ? a_.map.node_begin[node] + peer : kNobody, word);
    }
  }

  TRANSLOAD_DEVICE uint32_t tokens_of(uint32_t column, uint32_t channel) const {
    const uint32_t* const starts = starts_of(column);
    return starts[channel + 1] - starts[channel];
  }

  // The words that records of ranks and of nodes begin with.
  TRANSLOAD_DEVICE uint32_t common_word(uint32_t column, uint32_t word) const {
    if (word == CountsRecord::kSourceTokens) return uint32_t(a_.routing.tokens);
    if (a_.routing.tokens == 0) return 0;
    if (word == CountsRecord::kTokens) return starts_of(column)[a_.channels];
    const uint32_t channel = word - CountsRecord::kByChannel;
    return channel < a_.channels ? tokens_of(column, channel) : 0;
  }

  TRANSLOAD_DEVICE uint32_t rows_of(uint32_t place) const {
    uint32_t rows = 0;
    for (uint32_t block = 0; block < gridDim.x; ++block)
      rows += shared_.expert[uint64_t(block) * a_.experts.experts + place];
    return rows;
  }

  TRANSLOAD_DEVICE void write_rank_word(char* record, uint32_t rank, uint32_t i) const {
    if (i >= a_.geometry.counts_bytes() / 4) return;
    const uint32_t head = CountsRecord::expert_word(a_.geometry.channels);
    uint32_t word = 0;
    if (rank != kNobody && i < head) word = common_word(rank, i);
    if (rank != kNobody && i >= head && i - head < a_.experts.experts_of(rank))
      word = rows_of(a_.experts.rank_begin[rank] + i - head);
    reinterpret_cast<uint32_t*>(record)[i] = word;
  }

  TRANSLOAD_DEVICE void write_node_word(uint32_t node, uint32_t i) const {
    if (i >= a_.geometry.counts().node_head_bytes() / 4) return;
    reinterpret_cast<uint32_t*>(a_.counts_to_nodes + node * a_.geometry.node_counts_bytes())[i] =
        common_word(a_.map.ranks + node, i);
  }

  TRANSLOAD_DEVICE void report() const {
    Word first = ~Word(0);
    for (uint32_t block = 0; block < gridDim.x; ++block)
      first = shared_.bad[block] < first ? shared_.bad[block] : first;
    DeviceReport& to = *a_.report;
    to.bad_found = first != ~Word(0);
    if (!to.bad_found) return;
    to.bad_token = first / a_.shape.top_k;
    to.bad_slot = first % a_.shape.top_k;
    to.bad_value = Word(a_.routing.expert(to.bad_token, uint32_t(to.bad_slot)));
  }

  const LayoutArgs& a_;
  const TileShape& shape_;
  const TileMemory near_;
  const SharedCounts& shared_;
  const uint32_t tiles_;
  const Word use_;
  uint32_t* expert_;  // [expert place] choices that this block has counted
  TokenRange tile_{};
  TileChoice choices_[kEach];
  Word bad_ = ~Word(0);  // my first choice out of range: token * top_k + slot
};

}  // namespace transload
