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

// Names a handle by its group and the epoch of its birth: all ranks compute the same name, and no other handle has it.
// Ids of groups follow each other, and a group makes too few calls for names of two groups to collide.
TRANSLOAD_HD Word handle_name(Word group, Word born) { return group * kSplitMixStep + born; }

// Arguments that must be alike on all ranks. A card lies beside its word, in the place for the parity of its epoch. Two
// places suffice, since no rank is two calls ahead of a neighbour: every call waits for the cards of all neighbours.
struct Card {
  Word epoch;
  Word handle;  // handle_name(); 0: none
  Word row_bytes;
  Operation operation;
  uint32_t scales;
  uint32_t top_k;
  uint32_t dtype;  // code, bits and lanes of an element of a row
  uint32_t channels;
  uint32_t wire;     // type of partial sums
  uint32_t weights;  // combine: topk_weights are summed too
  uint32_t refused;  // 1: this rank refuses the call, and its arguments do not count
  uint32_t reserved[2] = {};

  // All fields but `epoch` and `reserved`, as one number. Cards that differ in one field never have the same digest:
  // every step can be undone, so a difference is not lost.
  TRANSLOAD_HD constexpr Word digest() const {
    auto with = [](Word sum, Word next) { return sum * kSplitMixStep + next; };
    Word sum = with(handle, row_bytes);
    sum = with(sum, Word(operation) << 32 | scales);
    sum = with(sum, Word(top_k) << 32 | dtype);
    sum = with(sum, Word(channels) << 32 | wire);
    return with(sum, Word(refused) << 32 | weights);
  }
};
static_assert(sizeof(Card) == 64);

// The permission to touch a peer's memory in this call, and how much of that memory there is. The row bases for that
// peer follow the grant in memory: where the rows of each source slot begin in the granter's output.
struct Grant {
  Word epoch;
  Word card;                // digest of the granter's card, checked before any store: stores rely on equal arguments
  Word reachable;           // dispatch: 1 landing direct; combine: 1 source pull; 0: through the ring
  Word rows;                // offset of the rows in the granter's scale-up region
  Word scales;              // dispatch: offset of the scales
  Word headers_or_weights;  // first dispatch: offset of the headers; combine: of the weights
  Word rows_max;            // a bound: nobody sends, stores, reads or sums rows from this one on. On a host the granter
                            // has room for no more rows than this
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
    return {.epoch = epoch,
            .card = card,
            .reachable = reachable,
            .rows = rows,
            .scales = scales,
            .headers_or_weights = headers_or_weights,
            .rows_max = rows_max};
  }
};

}  // namespace transload
