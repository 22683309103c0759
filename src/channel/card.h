// What a rank says at the start of a call: the card to peers, rails and sources; the grant to peers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "base/macros.h"
#include "base/mix.h"
#include "base/word.h"

namespace transload {

enum class Operation : uint32_t { kNone, kDispatch, kCachedDispatch, kCombine, kCount };
constexpr const char* kOperationNames[] = {"nothing", "a dispatch", "a cached dispatch", "a combine"};
static_assert(std::size(kOperationNames) == size_t(Operation::kCount));

// A handle by the group and the epoch in which it was born: alike on all ranks, and no other's. Ids of groups follow
// each other, and no group makes so many calls that names of two meet.
TRANSLOAD_HD Word handle_name(Word group, Word born) { return group * kSplitMixStep + born; }

// Arguments that must be alike on all ranks. Written beside its word, in the place of the call's parity: nobody is two
// calls ahead of a neighbour, because every call waits for the cards of all neighbours.
struct Card {
  Word epoch;
  Word handle;  // handle_name(); 0: none
  Word row_bytes;
  Operation operation;
  uint32_t scales;
  uint32_t top_k;
  uint32_t dtype;  // code, bits and lanes of the rows
  uint32_t channels;
  uint32_t wire;     // of partial sums
  uint32_t weights;  // combine: they are summed too
  uint32_t reserved[3] = {};

  // All of it but the epoch, as one number: cards that differ in one field never have the same. Every step can be
  // undone, so a difference is not lost.
  TRANSLOAD_HD Word digest() const {
    auto with = [](Word sum, Word next) { return sum * kSplitMixStep + next; };
    Word sum = with(handle, row_bytes);
    sum = with(sum, Word(operation) << 32 | scales);
    sum = with(sum, Word(top_k) << 32 | dtype);
    sum = with(sum, Word(channels) << 32 | wire);
    return with(sum, weights);
  }
};
static_assert(sizeof(Card) == 64);

// The permission to touch a peer's memory in this call, and how much of it there is. Behind it lie the row bases of
// that peer: where the rows of each source slot begin in the granter's output.
struct Grant {
  Word epoch;
  Word card;                // digest of the granter's: stores go by what ranks have alike, so it is checked before them
  Word reachable;           // dispatch: 1 landing direct; combine: 1 source pull; 0: through the ring
  Word rows;                // offset of the rows in the granter's scale-up region
  Word scales;              // dispatch: offset of their scales
  Word headers_or_weights;  // dispatch: offset of the headers, which cached ones do without; combine: of the weights
  Word rows_max;  // of the granter: rows from this one on are dropped, and nobody sends, stores, reads or sums them. On
                  // a host also all that it has room for
  Word reserved = 0;

  TRANSLOAD_HD Word* row_base() { return reinterpret_cast<Word*>(this + 1); }
  TRANSLOAD_HD const Word* row_base() const { return reinterpret_cast<const Word*>(this + 1); }
};
static_assert(sizeof(Grant) == 64);

// What a rank grants all its peers in a call. Offsets are 0 where nothing is reachable.
struct GrantOffer {
  bool reachable;
  Word rows, scales, headers_or_weights;
  Word rows_max;

  TRANSLOAD_HD Grant grant(Word epoch, Word card) const {
    return {epoch, card, reachable, rows, scales, headers_or_weights, rows_max};
  }
};

}  // namespace transload
