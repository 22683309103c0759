// Blocks of a region: inside it, apart from each other, aligned; the network region alike whatever the size of one's
// node.
#include "layout/regions.h"
#include "layout/counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "channel/card.h"
#include "layout/plan.h"
#include "layout/rank_map.h"

namespace transload {
namespace {

struct Place {
  uint64_t begin, end;
  std::string name;
};

// Every cell of a block, by the block's own arithmetic.
void add_cells(std::vector<Place>& all, const std::string& name, const Block& block, Extent e) {
  ASSERT_EQ(block.unit, e.unit) << name;
  for (uint32_t a = 0; a < e.n0; ++a)
    for (uint32_t b = 0; b < e.n1; ++b)
      for (uint32_t c = 0; c < e.n2; ++c)
        for (uint32_t d = 0; d < e.n3; ++d) {
          const uint64_t begin = e.n3 > 1 ? block.at(a, b, c, d) : block.at(a, b, c);
          all.push_back({begin, begin + e.unit, name});
        }
}

void expect_apart(std::vector<Place> all, uint64_t bytes) {
  std::sort(all.begin(), all.end(), [](const Place& a, const Place& b) { return a.begin < b.begin; });
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_LE(all[i].end, bytes) << all[i].name << " ends past the region";
    if (i == 0) continue;
    ASSERT_LE(all[i - 1].end, all[i].begin) << all[i - 1].name << " overlaps " << all[i].name;
  }
}

void add_peer_rings(std::vector<Place>& all, const std::string& name, const PeerRings& r, const Geometry& g,
                    uint64_t stride) {
  const uint32_t members = g.peers * r.streams;
  add_cells(all, name + ".tail", r.tail, {kWordBytes, g.channels, members});
  add_cells(all, name + ".credit", r.credit, {kWordBytes, g.channels, members});
  add_cells(all, name + ".slots", r.slots, {stride, g.channels, members, g.slots});
}

struct RailSides {
  uint32_t consumer, producer;  // members at each end
};
void add_rail_rings(std::vector<Place>& all, const std::string& name, const RailRings& r, const Geometry& g,
                    uint64_t stride, RailSides sides) {
  add_cells(all, name + ".tail", r.tail, {kWordBytes, g.channels, sides.consumer});
  add_cells(all, name + ".credit", r.credit, {kWordBytes, g.channels, sides.producer});
  add_cells(all, name + ".send", r.send, {stride, g.channels, sides.producer, g.slots});
  add_cells(all, name + ".recv", r.recv, {stride, g.channels, sides.consumer, g.slots});
}

std::vector<Geometry> geometries() {
  std::vector<Geometry> all;
  for (const auto& sizes : std::vector<std::vector<uint32_t>>{{1}, {8}, {1, 1, 1}, {4, 4}, {3, 5}, {1, 2, 5}, {2, 9}})
    for (uint32_t channels : {1u, 3u})
      for (uint32_t slots : {1u, 4u})
        for (uint32_t node = 0; node < sizes.size(); ++node) {
          const RankTable table(sizes);
          const RankMap map = table.seen_by(0);
          Geometry g{};
          g.ranks = map.ranks, g.nodes = map.nodes, g.fold = map.fold, g.node_size_max = table.node_size_max();
          g.peers = sizes[node];
          g.channels = channels, g.slots = slots;
          g.experts_of_rank_max = 5;
          g.token_bytes = 16 * (7 + slots), g.sum_bytes = 16 * 3;
          all.push_back(g);
        }
  return all;
}

TEST(ScaleUpRegion, BlocksAreApart) {
  for (const Geometry& g : geometries()) {
    const uint64_t grant_bytes = sizeof(Grant) + 8 * g.sources();
    const ScaleUpRegion r = ScaleUpRegion::plan(g, sizeof(Card), grant_bytes);
    std::vector<Place> all;
    add_cells(all, "card_word", r.card_word, {kWordBytes, g.peers});
    add_cells(all, "card", r.card, {sizeof(Card), 2, g.peers});
    add_cells(all, "grant_word", r.grant_word, {kWordBytes, g.peers});
    add_cells(all, "grant", r.grant, {grant_bytes, 2, g.peers});
    add_cells(all, "counts_word", r.counts_word, {kWordBytes, g.peers});
    add_cells(all, "counts", r.counts, {g.counts_bytes(), 2, g.ranks});
    add_cells(all, "done_word", r.done_word, {kWordBytes, g.peers});
    ASSERT_EQ(r.dispatch.streams, 2u);
    ASSERT_EQ(r.combine.streams, g.sources());
    add_peer_rings(all, "dispatch", r.dispatch, g, g.token_stride());
    add_peer_rings(all, "combine", r.combine, g, g.sum_stride());
    ASSERT_NO_FATAL_FAILURE(expect_apart(all, r.bytes));
    const uint64_t formula =
        uint64_t(g.channels) * g.slots * g.peers * (2 * g.token_stride() + g.sources() * g.sum_stride());
    EXPECT_EQ(r.ring_bytes, formula);
  }
}

TEST(NetworkRegion, BlocksAreApart) {
  for (const Geometry& g : geometries()) {
    const NetworkRegion r = NetworkRegion::plan(g, sizeof(Card));
    const uint32_t sources = g.sources();
    std::vector<Place> all;
    add_cells(all, "asleep", r.asleep, {kWordBytes, 1});
    add_cells(all, "hello", r.hello, {kWordBytes, g.nodes + sources});
    add_cells(all, "card_send", r.card_send, {sizeof(Card), 2});
    add_cells(all, "source_card_word", r.source_card_word, {kWordBytes, sources});
    add_cells(all, "source_card", r.source_card, {sizeof(Card), 2, sources});
    add_cells(all, "rail_card_word", r.rail_card_word, {kWordBytes, g.nodes});
    add_cells(all, "rail_card", r.rail_card, {sizeof(Card), 2, g.nodes});
    add_cells(all, "counts_word", r.counts_word, {kWordBytes, sources});
    add_cells(all, "counts", r.counts, {g.node_counts_bytes(), 2, sources});
    add_cells(all, "counts_send", r.counts_send, {g.node_counts_bytes(), 2, g.nodes});
    add_rail_rings(all, "dispatch", r.dispatch, g, g.token_stride(), {sources, g.nodes});
    add_rail_rings(all, "combine", r.combine, g, g.sum_stride(), {g.nodes, sources});
    ASSERT_NO_FATAL_FAILURE(expect_apart(all, r.bytes));
    const uint64_t formula = uint64_t(g.channels) * g.slots * (sources + g.nodes) * (g.token_stride() + g.sum_stride());
    EXPECT_EQ(r.ring_bytes, formula);
  }
}

TEST(NetworkRegion, MappedRailsHaveNoSendHalves) {
  for (Geometry g : geometries()) {
    const NetworkRegion staged = NetworkRegion::plan(g, sizeof(Card));
    g.mapped_rails = true;
    const NetworkRegion r = NetworkRegion::plan(g, sizeof(Card));
    EXPECT_EQ(r.dispatch.recv.offset, r.dispatch.send.offset);
    EXPECT_EQ(r.combine.recv.offset, r.combine.send.offset);
    EXPECT_EQ(r.ring_bytes,
              uint64_t(g.channels) * g.slots * (g.sources() * g.token_stride() + g.nodes * g.sum_stride()));
    EXPECT_EQ(staged.ring_bytes - r.ring_bytes,
              uint64_t(g.channels) * g.slots * (g.nodes * g.token_stride() + g.sources() * g.sum_stride()));
  }
}

bool same(const Block& a, const Block& b) {
  return a.offset == b.offset && a.unit == b.unit && a.n1 == b.n1 && a.n2 == b.n2 && a.n3 == b.n3;
}

// A put names an offset at the receiver, so the region must be alike on nodes of different sizes.
TEST(NetworkRegion, IsAlikeOnAllNodes) {
  Geometry small{};
  small.ranks = 9, small.nodes = 3, small.fold = 5, small.node_size_max = 5;
  small.channels = 3, small.slots = 2, small.experts_of_rank_max = 4, small.token_bytes = 320, small.sum_bytes = 64;
  Geometry large = small;
  small.peers = 1;
  large.peers = 5;
  const NetworkRegion a = NetworkRegion::plan(small, sizeof(Card)), b = NetworkRegion::plan(large, sizeof(Card));
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.ring_bytes, b.ring_bytes);
  EXPECT_TRUE(same(a.hello, b.hello));
  EXPECT_TRUE(same(a.source_card, b.source_card));
  EXPECT_TRUE(same(a.counts, b.counts));
  EXPECT_TRUE(same(a.dispatch.tail, b.dispatch.tail));
  EXPECT_TRUE(same(a.dispatch.recv, b.dispatch.recv));
  EXPECT_TRUE(same(a.combine.credit, b.combine.credit));
  EXPECT_TRUE(same(a.combine.recv, b.combine.recv));
}

TEST(Geometry, SlotsAndWordsKeepTheirAlignment) {
  for (const Geometry& g : geometries()) {
    const NetworkRegion net = NetworkRegion::plan(g, sizeof(Card));
    const ScaleUpRegion up = ScaleUpRegion::plan(g, sizeof(Card), sizeof(Grant) + 8 * g.sources());
    ASSERT_GE(g.token_stride(), g.token_bytes);
    ASSERT_EQ(g.token_stride() % kSlotAlign, 0u);
    ASSERT_EQ(g.sum_stride() % kSlotAlign, 0u);
    for (const Block* block :
         {&net.dispatch.send, &net.dispatch.recv, &net.combine.send, &net.combine.recv, &up.dispatch.slots,
          &up.combine.slots, &net.dispatch.tail, &net.combine.credit, &up.dispatch.tail, &up.combine.credit})
      ASSERT_EQ(block->offset % kSlotAlign, 0u);
    ASSERT_EQ(g.counts_bytes() % 16, 0u);
    ASSERT_EQ(g.node_counts_bytes() % 16, 0u);
    ASSERT_GE(g.counts_bytes(), 4u * (2 + g.channels + g.experts_of_rank_max));
    ASSERT_EQ(g.node_counts_bytes(), g.counts().node_head_bytes() + g.node_size_max * g.counts_bytes());
  }
}

// Rings do not grow with tokens: nothing of a geometry says how many there are. They grow with each of the formula's
// factors.
TEST(Geometry, RingsGrowWithTheirFactorsOnly) {
  const Geometry g = geometries().back();
  const uint64_t bytes = NetworkRegion::plan(g, sizeof(Card)).ring_bytes;
  Geometry more = g;
  more.channels *= 2;
  EXPECT_EQ(NetworkRegion::plan(more, sizeof(Card)).ring_bytes, 2 * bytes);
  more = g;
  more.slots *= 3;
  EXPECT_EQ(NetworkRegion::plan(more, sizeof(Card)).ring_bytes, 3 * bytes);
  more = g;
  more.experts_of_rank_max *= 100;
  EXPECT_EQ(NetworkRegion::plan(more, sizeof(Card)).ring_bytes, bytes);
}

// Offsets pass 4 GiB without wrapping.
// Contract 7.5.
TEST(Geometry, LargeRegionsDoNotWrap) {
  Geometry g{};
  g.ranks = 64, g.nodes = 8, g.fold = 1, g.node_size_max = 8, g.peers = 8;
  g.channels = 64, g.slots = 1024, g.experts_of_rank_max = 8, g.token_bytes = 40960 + 528, g.sum_bytes = 40960 * 2;
  const NetworkRegion r = NetworkRegion::plan(g, sizeof(Card));
  EXPECT_GT(r.bytes, uint64_t(1) << 36);
  EXPECT_EQ(r.combine.recv.at(63, 7, 1023) + g.sum_stride(), r.bytes);
}

// A digest of the layout of all that ranks write for each other.
class LayoutDigest {
 public:
  void add(uint64_t value) { value_ = (value_ ^ value) * 1099511628211u; }  // FNV-1a
  void add(const Block& b) {
    for (const uint64_t value : {b.offset, b.unit, uint64_t(b.n1), uint64_t(b.n2), uint64_t(b.n3)}) add(value);
  }
  void add(const PeerRings& r) { add(r.tail), add(r.credit), add(r.slots), add(r.streams); }
  void add(const RailRings& r) { add(r.tail), add(r.credit), add(r.send), add(r.recv); }
  void add(const ScaleUpRegion& r) {
    for (const Block& b : {r.card_word, r.card, r.grant_word, r.grant, r.counts_word, r.counts, r.done_word}) add(b);
    add(r.dispatch), add(r.combine), add(r.ring_bytes), add(r.bytes);
  }
  void add(const NetworkRegion& r) {
    for (const Block& b : {r.asleep, r.hello, r.card_send, r.source_card_word, r.source_card, r.rail_card_word,
                           r.rail_card, r.counts_word, r.counts, r.counts_send})
      add(b);
    add(r.dispatch), add(r.combine), add(r.ring_bytes), add(r.bytes);
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 14695981039346656037u;
};

template <class T>
void add_bytes(LayoutDigest& digest, const T& value) {
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  for (const unsigned char byte : bytes) digest.add(byte);
}

TEST(LayoutVersion, IsRaisedWithTheLayout) {
  struct Pinned {
    uint32_t version;
    uint64_t digest;
  };
  constexpr Pinned kPinned{2, 0xbd776f647cf691bbu};
  LayoutDigest digest;
  for (const bool mapped : {false, true})
    for (const uint32_t nodes : {1u, 3u}) {
      Geometry g{6 * nodes, nodes, 2, 6, 6, 5, 3, 7, 4096 + 144, 8192 + 32};
      g.peer_slots = mapped ? 9 : 0;
      g.mapped_rails = mapped;
      digest.add(ScaleUpRegion::plan(g, sizeof(Card), sizeof(Grant) + 8 * g.sources()));
      digest.add(NetworkRegion::plan(g, sizeof(Card)));
      for (const uint64_t bytes : {g.token_stride(), g.sum_stride(), g.counts_bytes(), g.node_counts_bytes()})
        digest.add(bytes);
    }
  add_bytes(digest, Card{1, 2, 3, Operation::kCombine, 4, 5, 6, 7, 8, 9, 10, {11, 12}});
  add_bytes(digest, Grant{1, 2, 3, 4, 5, 6, 7, 8});
  add_bytes(digest, Header{1, 2, 3, 4});
  add_bytes(digest, HeaderEntry{1, 2, 3, 4.0f});
  const TokenShape shape{4096, 7, 3, true};
  for (const uint64_t at : {shape.scale_room(), shape.header_offset(), shape.header_bytes()}) digest.add(at);
  SendCounts counts{{3, 5}, {1, 2, 4, 1}, {0, 6}, {0, 0, 2, 4}, {7, 8}};
  const PlacementTable placement(2, 2, {});
  const RankTable ranks({1, 1});
  const CountsWriter writer{
      .counts = counts, .experts = placement.view(), .source_tokens = 9, .channels = 2, .shape = {3, 2}};
  std::vector<uint32_t> words((writer.shape.rank_bytes() + writer.shape.node_bytes(1)) / 4);
  auto* const record = reinterpret_cast<char*>(words.data());
  writer.for_rank(record, 1);
  writer.for_node(record + writer.shape.rank_bytes(), ranks.seen_by(0), 1);
  for (const uint32_t word : words) digest.add(word);
  Refusal{0, 1, "x: not given"}.write(record);
  for (const uint32_t word : words) digest.add(word);
  EXPECT_EQ(kLayoutVersion, kPinned.version)
      << "pin the digest of the new version here: 0x" << std::hex << digest.value();
  EXPECT_EQ(digest.value(), kPinned.digest)
      << "what ranks write for each other has changed: raise kLayoutVersion in layout/regions.h, and pin it here with "
         "the digest 0x"
      << std::hex << digest.value();
}

}  // namespace
}  // namespace transload
