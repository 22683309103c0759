// The Warp: one agent that waits, moves and publishes. Roles are templates over it; each executor gives these verbs.
//
// Values of a role are the same for the whole warp, or a Per<T> (a value for each lane of a Set) or a Table<T> (a value
// for each member, in near memory), indexed by the Lane that a verb hands out. A body given to `each` writes only a
// cell of its own lane. Every verb ends converged. Contract lines: Local (when may I reuse or rely on what is mine),
// Remote (when may another rely on it), Owner (who keeps or advances what), Fails (with what, and what is left true).
//
// `Members` is the executor's set of members: base/set.h has the one of a CPU.
// `kChecksGrants` says whether grants of peers are checked against the peer's memory: Board::peer_bytes.
// `Plants` says whether canaries may be planted in what is instantiated with this Warp: base/canary.h.
//
// After a fault or a deadline `failed()` is true, waits return at once with nothing ready, and moves and marks do
// nothing: a role needs to look only where it loops.
//
//   values
//     per<T>(set, f)        Per<T> with f(Lane) for each lane of the set, T{} elsewhere
//     table<T>(count, f)    Table<T> of `count` members with f(Lane). Owner: the warp's near memory, until it goes.
//                           A Table is also read by plain member numbers
//     where(set, test)      the lanes (or members) with test(Lane)
//     each(set, body)       body(Lane) for each, in no order
//     turns(set, body)      body(int) for each, one after another, by the whole warp; ascending
//     pick(per, i)          the value of member i, for the whole warp
//     once(body)            body() by one lane
//     peek(p)               *p, where an observed count covers it. Also in a body, for its lane
//
//   waits, on words that only grow
//     wait_any(members, need, seen)   the members whose Need is met, at least one; seen[lane] = the word as last read.
//     wait_all(set, need, seen)       the whole set (or members), once every Need is met
//     poll(set, need, seen)           the ones that are met now; never waits
//         need(Lane) -> Need; a Need that seen[lane] already meets is not read again. Local: what an observed count
//         covers may be read. Flushes every mark first if it has to wait. Fails: after the deadline, or when the group
//         is faulted, with an empty set; the first unmet Need names whom it waited for.
//
//   moves, asynchronous: a verb may return before its bytes have moved
//     scatter(pieces, set, to)       each piece to the same piece of to(Lane) -> Destination, for each lane:
//                                    one load, n stores
//     copy(set, piece)               piece(Lane) -> Piece{to, from, bytes}: small records, one for each member
//     put(set, put)                  put(Lane) -> Put: staged bytes to a rail; nothing where the rail is mapped
//     reduce(into, shape, sum, row)  rows of the lanes, summed in the contract's order, stored once
//         Local: sources may change after drain() or once their credit is set. Remote: landed once a publish that
//         follows is seen, or settle() has returned. Fails: never by itself.
//
//   marks in the queue of moves, cheap enough for every token: the executor sets some, the latest last, and all before
//   it waits
//     publish(set, mark)    mark(Lane) -> Mark{PeerWord | RailWord, count}.
//                           Remote: seen only once all that I wrote there has landed
//     credit(set, mark)     takes what publish takes. Remote: seen only once all my reads before it are over
//
//   closing
//     drain()               Local: nothing of mine is still being read
//     settle()              every move has landed, every mark is set
//     claim(counter)        Per<Word> whose lane 0 gets the next number of a counter of my rank. The host sets the
//                           counter at the call's start; pick() waits for the number
//     arrive(counter, n)    settle, then count the warps of my rank; true for the n-th, whose publish then covers all
//     broken(what, rank, seen, expected)   report a broken promise of another rank; the group is faulted
//     failed()              the group is faulted, or a wait of this warp expired
//     enter(role, channel)  what a Fault calls me from now on
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "base/macros.h"
#include "base/scalar.h"
#include "base/set.h"
#include "channel/scaleout.h"
#include "channel/values.h"
#include "channel/word.h"

namespace transload {

enum class Role : uint8_t { kOpener, kSender, kForwarder, kReceiver, kCloser, kCount };
constexpr const char* kRoleNames[] = {"opener", "sender", "forwarder", "receiver", "closer"};
static_assert(std::size(kRoleNames) == size_t(Role::kCount));
constexpr size_t kClaims = 8;  // room for a counter of shares for each Role
static_assert(size_t(Role::kCount) <= kClaims);

// The pieces of a token: its row, its extra (a header, or weights), its scales. A piece of 0 bytes is not moved.
struct TokenPieces {
  const char* row;
  size_t row_bytes;
  const char* extra;
  size_t extra_bytes;
  const char* scales = nullptr;
  size_t scale_bytes = 0;  // a multiple of 4
};

struct Destination {
  char* row;
  char* extra;             // null: this lane takes no extra
  bool staged;             // this rank's network reads the bytes again soon: keep them in the cache
  char* scales = nullptr;  // null: this lane takes no scales
};

struct Piece {
  char* to;
  const char* from;
  size_t bytes;
};

// Order of a sum: ((bias + before...) + (here...)) + after..., each set in ascending lane order; `here` is summed by
// itself first, from +0.
struct Sum {
  Set before;  // partial sums of lower nodes
  Set here;    // rows of my node
  Set after;   // partial sums of higher nodes
};

struct SumShape {
  size_t elements;
  Scalar row;      // type of the lanes in `here`
  Scalar partial;  // type of the lanes in `before` and `after`
  Scalar out;
  const char* bias[2];  // `row` scalars, `elements` of them; null: +0
  bool staged;          // same as Destination::staged
};

// What a broken promise is about: a field of a card that differs from mine, or bytes that cannot be.
enum class Broken : uint8_t {
  kOperation,
  kRowBytes,
  kScaleBytes,
  kTopK,
  kDtype,
  kChannels,
  kWire,
  kWeights,
  kHandle,
  kHeader,  // the header of a token
  kCounts,  // the counts of a rank
  kLanes,   // lanes of a warp of mine called a verb with different arguments. In builds that check every verb
  kBounds,  // a warp of mine would have stored out of bounds. In builds that check every verb
  kGrant,   // the grant of a peer: it grants more than the peer's memory holds
  kCount
};
constexpr const char* kBrokenNames[] = {"operation", "row bytes", "scales",       "top-k",  "dtype",
                                        "channels",  "wire",      "topk_weights", "handle", "token header",
                                        "counts",    "lanes",     "bounds",       "grant"};
static_assert(std::size(kBrokenNames) == size_t(Broken::kCount));

// nvcc 13 takes no lambda inside a requires-expression, hence the archetypes.
namespace archetype {
struct Value {
  int operator()(Lane) const;
};
struct Test {
  bool operator()(Lane) const;
};
struct Body {
  void operator()(Lane) const;
};
struct Turn {
  void operator()(int) const;
};
struct NeedOf {
  Need operator()(Lane) const;
};
struct DestinationOf {
  Destination operator()(Lane) const;
};
struct PieceOf {
  Piece operator()(Lane) const;
};
struct PutOf {
  Put operator()(Lane) const;
};
struct RowOf {
  const char* operator()(Lane) const;
};
struct PeerMark {
  Mark<PeerWord> operator()(Lane) const;
};
struct RailMark {
  Mark<RailWord> operator()(Lane) const;
};
struct Once {
  void operator()() const;
};
}  // namespace archetype

template <class W>
concept Warp = requires(W& w, Set set, MembersOf<W> members, Word* counter, PerOf<W, Word>& seen,
                        TableOf<W, Word>& seen_by_member) {
  { W::Plants::kLive } -> std::convertible_to<bool>;
  { W::kChecksGrants } -> std::convertible_to<bool>;
  w.template per<int>(set, archetype::Value{});
  w.template table<int>(1, archetype::Value{});
  { w.where(set, archetype::Test{}) } -> std::same_as<Set>;
  { w.where(members, archetype::Test{}) } -> std::same_as<MembersOf<W>>;
  w.each(set, archetype::Body{});
  w.each(members, archetype::Body{});
  w.turns(set, archetype::Turn{});
  w.turns(members, archetype::Turn{});
  { w.pick(seen, 0) } -> std::convertible_to<Word>;
  { w.pick(seen_by_member, 0) } -> std::convertible_to<Word>;
  w.once(archetype::Once{});
  { w.wait_any(members, archetype::NeedOf{}, seen_by_member) } -> std::same_as<MembersOf<W>>;
  { w.wait_all(members, archetype::NeedOf{}, seen_by_member) } -> std::same_as<MembersOf<W>>;
  { w.wait_all(set, archetype::NeedOf{}, seen) } -> std::same_as<Set>;
  { w.poll(set, archetype::NeedOf{}, seen) } -> std::same_as<Set>;
  w.scatter(TokenPieces{}, set, archetype::DestinationOf{});
  w.copy(members, archetype::PieceOf{});
  w.put(set, archetype::PutOf{});
  w.put(members, archetype::PutOf{});
  w.reduce(static_cast<char*>(nullptr), SumShape{}, Sum{}, archetype::RowOf{});
  w.publish(set, archetype::PeerMark{});
  w.publish(set, archetype::RailMark{});
  w.publish(members, archetype::PeerMark{});
  w.publish(members, archetype::RailMark{});
  w.credit(set, archetype::PeerMark{});
  w.credit(set, archetype::RailMark{});
  w.credit(members, archetype::RailMark{});
  { w.peek(static_cast<const Word*>(counter)) } -> std::same_as<Word>;
  w.drain();
  w.settle();
  { w.pick(w.claim(counter), 0) } -> std::same_as<Word>;
  { w.arrive(counter, 1) } -> std::same_as<bool>;
  w.broken(Broken::kHeader, uint32_t(0), Word(0), Word(0));
  { w.failed() } -> std::same_as<bool>;
  w.enter(Role::kSender, 0);
};

}  // namespace transload
