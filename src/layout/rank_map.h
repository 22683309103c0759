// Who sits where: ranks, nodes, peers, and which rail a rank's tokens take. No other file knows the rule of rails.
#pragma once
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/macros.h"
#include "base/math.h"
#include "base/word.h"

namespace transload {

// One rank's view. Tables live as long as the group.
//
// Source slots: the ranks whose rail I am, numbered alike on all ranks: slot = node * fold + (peer index / size of my
// node), where fold is the most ranks of one node that one rank of another can serve. On my own node, slot node * fold
// is me.
struct RankMap {
  const uint32_t* node_begin;  // [nodes + 1] first rank of each node
  const uint32_t* node_of;     // [ranks]
  uint32_t nodes, ranks, fold;
  uint32_t me, node, peer, peers;  // my rank; my node; my index in the node; how many ranks the node has

  TRANSLOAD_HD uint32_t node_size(uint32_t n) const {
    TRANSLOAD_CHECK(n < nodes);
    return node_begin[n + 1] - node_begin[n];
  }
  TRANSLOAD_HD uint32_t peer_of(uint32_t rank) const {
    TRANSLOAD_CHECK(rank < ranks);
    return rank - node_begin[node_of[rank]];
  }
  TRANSLOAD_HD uint32_t peer_rank(uint32_t p) const {
    TRANSLOAD_CHECK(p < peers);
    return node_begin[node] + p;
  }
  TRANSLOAD_HD bool is_peer(uint32_t rank) const {
    TRANSLOAD_CHECK(rank < ranks);
    return node_of[rank] == node;
  }
  TRANSLOAD_HD constexpr uint32_t sources() const { return nodes * fold; }
  // The map as peer p of my node sees it.
  TRANSLOAD_HD RankMap as_peer(uint32_t p) const {
    RankMap theirs = *this;
    theirs.me = peer_rank(p);
    theirs.peer = p;
    return theirs;
  }

  // The rank of node n that takes the tokens of `rank` for that node: peer index mod that node's size.
  TRANSLOAD_HD uint32_t rail_of(uint32_t rank, uint32_t n) const {
    return node_begin[n] + peer_of(rank) % node_size(n);
  }
  // The source slot that `rank` has at its rail on node n.
  TRANSLOAD_HD uint32_t slot_of(uint32_t rank, uint32_t n) const {
    TRANSLOAD_CHECK(rank < ranks && n < nodes);
    return node_of[rank] * fold + (node_of[rank] == n ? 0 : peer_of(rank) / node_size(n));
  }
  // The rank that a source slot of mine stands for, or kNobody.
  TRANSLOAD_HD uint32_t source_rank(uint32_t slot) const {
    TRANSLOAD_CHECK(slot < sources());
    const uint32_t n = slot / fold, turn = slot % fold;
    if (n == node) return turn == 0 ? me : kNobody;
    const uint32_t p = peer + turn * peers;
    return p < node_size(n) ? node_begin[n] + p : kNobody;
  }
  // The peer of my node that brings me the tokens of `rank`: `rank` itself if it is a peer, else its rail on my node.
  TRANSLOAD_HD uint32_t bringer(uint32_t rank) const {
    return is_peer(rank) ? peer_of(rank) : rail_of(rank, node) - node_begin[node];
  }
};

// Owns the tables that the RankMaps of a group point to.
class RankTable {
 public:
  explicit RankTable(const std::vector<uint32_t>& node_sizes) : begin_{0} {
    uint32_t most = 0, least = ~uint32_t(0);
    for (uint32_t n = 0; n < node_sizes.size(); ++n) {
      for (uint32_t p = 0; p < node_sizes[n]; ++p) node_of_.push_back(n);
      begin_.push_back(begin_.back() + node_sizes[n]);
      most = node_sizes[n] > most ? node_sizes[n] : most;
      least = node_sizes[n] < least ? node_sizes[n] : least;
    }
    fold_ = uint32_t(ceil_div(most, least));
    size_max_ = most;
  }
  RankTable(const RankTable&) = delete;
  RankTable& operator=(const RankTable&) = delete;

  RankMap seen_by(uint32_t rank) const {
    const uint32_t node = node_of_[rank];
    return {.node_begin = begin_.data(),
            .node_of = node_of_.data(),
            .nodes = uint32_t(begin_.size() - 1),
            .ranks = uint32_t(node_of_.size()),
            .fold = fold_,
            .me = rank,
            .node = node,
            .peer = rank - begin_[node],
            .peers = begin_[node + 1] - begin_[node]};
  }
  uint32_t node_size_max() const { return size_max_; }

 private:
  std::vector<uint32_t> begin_, node_of_;
  uint32_t fold_, size_max_;
};

}  // namespace transload
