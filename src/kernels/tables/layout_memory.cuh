// Where a layout keeps what it counts: of a tile in near memory, of a call in memory that its blocks share.
#pragma once
#include <cstdint>
#include <type_traits>

#include "base/math.h"
#include "kernels/tables/table_kernels.h"
#include "layout/cursor.h"

namespace transload {

// A column is what ordinals are counted for: the ranks, then the nodes.
TRANSLOAD_HD uint32_t columns_of(const Geometry& g) { return g.ranks + g.nodes; }

// How a layout cuts tokens into tiles, and where in near memory each part of one lies.
struct TileShape {
  static constexpr uint32_t kTokensMax = 256;
  static constexpr uint32_t kChoicesMax = 2048;
  static constexpr uint64_t kBytesMax = 200 * 1024;
  static constexpr uint32_t kExpertsMax = 8192;  // beyond this, experts are counted in memory of LayoutScratch

  uint32_t tokens, groups;  // groups of 32 tokens
  uint32_t columns, set_words;
  uint32_t marked, before, start, carry, sets, staged, experts, bytes;  // offsets in near memory; `bytes` is their end

  TRANSLOAD_HD static TileShape of(const Geometry& g, uint32_t top_k, uint32_t experts) {
    TileShape t{};
    t.columns = columns_of(g);
    t.set_words = uint32_t(ceil_div(t.columns, 32));
    const uint32_t most = kChoicesMax / top_k;
    t.tokens = (most < kTokensMax ? most : kTokensMax) / 32 * 32;
    t.place(top_k, experts);
    while (t.bytes > kBytesMax && t.tokens > 32) {
      t.tokens -= 32;
      t.place(top_k, experts);
    }
    return t;
  }

 private:
  TRANSLOAD_HD void place(uint32_t top_k, uint32_t experts_given) {
    Cursor at{.unit = 16};
    auto take = [&at](uint64_t count, uint64_t element_bytes) { return uint32_t(at.take(count, element_bytes)); };
    groups = tokens / 32;
    take(1, sizeof(Word));  // room for the first bad choice
    marked = take(uint64_t(groups) * columns, 4);
    before = take(uint64_t(groups) * columns, 4);
    start = take(columns, 4);
    carry = take(columns, 4);
    sets = take(uint64_t(tokens) * set_words, 4);
    staged = take(uint64_t(tokens) * 2 * top_k, sizeof(Route));
    experts = take(experts_given <= kExpertsMax ? experts_given : 0, 4);
    bytes = uint32_t(at.bytes);
  }
};

// Near memory of a block.
struct TileMemory {
  unsigned long long* bad;  // the first choice that is out of range: token * top_k + slot
  uint32_t* marked;         // [group][column] bit i: token i of the group goes to the column
  uint32_t* before;         // [group][column] tokens of earlier groups of the tile that go to the column
  uint32_t* start;          // [column] tokens before the tile that go to the column
  uint32_t* carry;          // [column] tokens up to the end of the tile that go to the column
  uint32_t* sets;           // [token][set_words] bit c: the token goes to column c
  Route* staged;            // [token][2 * top_k] columns of the token, ascending, with the token's ordinal in each

  __device__ TileMemory(const TileShape& t, char* near)
      : bad(reinterpret_cast<unsigned long long*>(near)),
        marked(reinterpret_cast<uint32_t*>(near + t.marked)),
        before(reinterpret_cast<uint32_t*>(near + t.before)),
        start(reinterpret_cast<uint32_t*>(near + t.start)),
        carry(reinterpret_cast<uint32_t*>(near + t.carry)),
        sets(reinterpret_cast<uint32_t*>(near + t.sets)),
        staged(reinterpret_cast<Route*>(near + t.staged)) {}
};

// The arrays of LayoutScratch, by which the blocks of one layout tell each other their counts. A block writes what is
// its own, then publishes the word beside, and all blocks read it. Words are tagged with the number of the notify
// (`use`), so nothing is ever zeroed again.
struct SharedCounts {
  static constexpr uint32_t kTilesPerBlock = 3;  // places that a block's tiles use in turn: tile_index()

  Word* tile_word;   // [kTilesPerBlock * blocks]          tag of the tile whose counts lie beside
  Word* done_word;   // [blocks]                         use for which a block's counts are complete
  Word* bad;         // [blocks]                         the first choice out of range, or all ones
  uint32_t* tile;    // [kTilesPerBlock * blocks][column]  tokens of one tile that go to the column
  uint32_t* starts;  // [column][channels + 1]         tokens before each channel
  uint32_t* expert;  // [blocks][expert place]           choices of the expert by tokens of the block
  uint32_t columns;
  uint64_t bytes;

  TRANSLOAD_HD SharedCounts(const Geometry& g, uint32_t experts, char* base) : columns(columns_of(g)) {
    Cursor at{.unit = kWordBytes};
    auto put = [&](auto*& array, uint64_t count) {
      using T = std::remove_reference_t<decltype(*array)>;
      array = reinterpret_cast<T*>(uintptr_t(base) + at.take(count, sizeof(T)));
    };
    constexpr uint64_t kTiles = kTilesPerBlock * kLayoutBlocksMax;
    put(tile_word, kTiles);
    put(done_word, kLayoutBlocksMax);
    put(bad, kLayoutBlocksMax);
    put(tile, kTiles * columns);
    put(starts, uint64_t(columns) * (g.channels + 1));
    put(expert, uint64_t(kLayoutBlocksMax) * experts);
    bytes = at.bytes;
  }

  // Tiles are dealt out in turn, so only tiles t + 1 to t + blocks - 1 read the counts of tile t: later ones have them
  // from an earlier tile of their own block. Tile t shares its place with tile t + 3 * blocks, of the same block.
  // Before that one, the block has ended tile t + 2 * blocks, for which it saw the counts of the blocks - 1 tiles
  // before it. By then their blocks had ended all readers of tile t: so three places for each block suffice.
  TRANSLOAD_HD static uint32_t tile_index(uint32_t t, uint32_t blocks) { return t % (kTilesPerBlock * blocks); }
  TRANSLOAD_HD static Word tile_tag(Word use, uint32_t t) { return use << 28 | (t + 1); }
};

// What the kernel gets: a host computes once what would else be computed by every thread.
struct LayoutLaunch {
  LayoutArgs args;
  TileShape tile;
  SharedCounts shared;
  uint32_t tiles;

  explicit LayoutLaunch(const LayoutArgs& a)
      : args(a),
        tile(TileShape::of(a.geometry, a.shape.top_k, a.experts.experts)),
        shared(a.geometry, a.experts.experts, a.scratch.at),
        tiles(uint32_t(ceil_div(a.routing.tokens, tile.tokens))) {}
};

}  // namespace transload
