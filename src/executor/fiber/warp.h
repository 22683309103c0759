// FiberWarp: the plain executor. It gives each verb of protocol/warp.h its meaning in plain C++, one lane after
// another; whatever touches shared memory, orders it, waits or knows the time is its Memory's, so that a model of a
// memory can take its place.
//
// What it asks of a Memory; the first argument is the number of the asking warp in its rank:
//   Plants                 which canaries are live: base/canary.h
//   publish_every()        publish and credit calls between two flushes
//   failed(w)              the group is faulted, or this rank has given up
//   observe(w, word)       reads a word with acquire; what it counts may then be read
//   knows(w, word, before, now)   told what this wait or poll takes a word for, before and after a look at it
//   peek(w, p)             *p
//   rail_base(rank)        where that rank's network region is mapped, else null
//   advance(w, word, n)    sets a word of my own
//   claim(w, counter)      adds one, without order, and returns the old value
//   arrive(w, counter)     adds one, with acquire and release, and returns the old value
//   engine_fence(w)        what observe covered is visible to the moves that follow, whoever carries them out
//   move(w, piece, staged), sum(w, job)   moves, asynchronous
//   moved(w, rows)         told after the moves of a verb
//   store_fence(w)         stores of earlier moves come before the stores, puts and counts that follow
//   drain(w)               every move so far has read its source
//   settle(w)              all of drain, and every move so far has landed
//   put(w, put), publish(w, word, count, credit)   to the network, in this order: see ScaleOut
//   store(w, at, reader, count)            sets a word that a peer or a mapped rail reads, with release
//   wake(w, batch)         wakes the readers of the batch's stored marks, if they sleep
//   park(w, park)          returns when the needs are met; false: the rank failed
//   missed(w)              told that a poll found nothing
//   breathe(w)             told at a moment when other warps may have a turn
//   broken(w, record)      told of a broken promise; the group is faulted
// A Memory that watches also has enters(w, role, channel), told what a warp is from now on, and backwards(w): true if
// `each` shall take the last lane first. One that carries no rows has move_token(w, pieces, landing) instead of moves.
//
// FiberWarp decides in which order these are called, alike for all Memories.
#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/math.h"
#include "executor/fiber/batch.h"
#include "executor/fiber/park.h"
#include "executor/simd/simd.h"
#include "protocol/warp.h"

namespace transload {

// Memory of one warp, given once: `needs` has room for kMembersMax, `base` for the tables of its role.
struct NearMemory {
  char* base = nullptr;
  size_t bytes = 0;
  Need* needs = nullptr;
};

// What this file's first lines ask of a Memory, for the compiler.
template <class M>
concept FiberMemory = requires(M& m, int w, Word* word, const Word* seen, const Batch& batch, Park& park) {
  { M::Plants::kLive } -> std::convertible_to<bool>;
  { m.publish_every() } -> std::convertible_to<uint32_t>;
  { m.failed(w) } -> std::same_as<bool>;
  { m.observe(w, seen) } -> std::same_as<Word>;
  { m.peek(w, seen) } -> std::same_as<Word>;
  { m.rail_base(uint32_t(0)) } -> std::same_as<char*>;
  m.advance(w, word, Word(0));
  { m.claim(w, word) } -> std::same_as<Word>;
  { m.arrive(w, word) } -> std::same_as<Word>;
  m.engine_fence(w);
  m.move(w, Piece{}, false);
  m.sum(w, simd::SumJob{});
  m.moved(w, uint32_t(0));
  m.store_fence(w);
  m.drain(w);
  m.settle(w);
  m.put(w, Put{});
  m.publish(w, RailWord{}, Word(0), false);
  m.store(w, word, uint32_t(0), Word(0));
  m.wake(w, batch);
  { m.park(w, park) } -> std::same_as<bool>;
  m.missed(w);
  m.breathe(w);
  m.broken(w, BrokenRecord{});
  m.knows(w, seen, Word(0), Word(0));
};

template <FiberMemory Memory>
class FiberWarp {
 public:
  using Plants = typename Memory::Plants;
  static constexpr bool kChecksGrants = true;
  using Members = transload::Members;

  // A value for each lane of a Set.
  template <class T>
  struct Per {
    T values[kSetMax] = {};
    T& operator[](Lane lane) { return values[lane.i]; }
    const T& operator[](Lane lane) const { return values[lane.i]; }
  };

  // A value for each member, in near memory. A Table that is destroyed gives its memory back, if it was the last one
  // taken. It can be moved and not copied.
  template <class T>
  class Table {
   public:
    Table(Table&& other) noexcept : room_(other.room_), values_(other.values_), count_(other.count_) {
      other.room_.used = nullptr;
    }
    Table& operator=(Table&&) = delete;
    ~Table() {
      if (room_.used != nullptr && *room_.used == room_.end) *room_.used = room_.begin;
    }
    T& operator[](Lane lane) { return values_[index(lane)]; }
    const T& operator[](Lane lane) const { return values_[index(lane)]; }
    T& operator[](int member) { return values_[index({member})]; }
    const T& operator[](int member) const { return values_[index({member})]; }

   private:
    friend class FiberWarp;
    struct TableRoom {
      size_t* used;  // bytes of near memory that the warp has taken; null: this table no longer gives its room back
      size_t begin, end;
    };
    Table(const TableRoom& room, T* values, int count) : room_(room), values_(values), count_(count) {}
    int index(int i) const {
      TRANSLOAD_CHECK(i >= 0 && i < count_);
      return i;
    }
    TableRoom room_;
    T* values_;
    int count_;
  };

  FiberWarp(Memory& memory, int number, NearMemory near) : memory_(memory), number_(number), near_(near) {}
  FiberWarp(const FiberWarp&) = delete;
  FiberWarp& operator=(const FiberWarp&) = delete;

  // Values.

  template <class T, class F>
  Per<T> per(Set set, F f) {
    Per<T> values;
    for_each(set, [&](Lane lane) { values[lane] = f(lane); });
    return values;
  }

  template <class T, class F>
  Table<T> table(int count, F f) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 16);
    const size_t from = used_, begin = round_up(from, 16), to = begin + sizeof(T) * size_t(count);
    TRANSLOAD_CHECK(count >= 0 && count <= kMembersMax && to <= near_.bytes);
    T* const values = reinterpret_cast<T*>(near_.base + begin);
    for (int i = 0; i < count; ++i) new (values + i) T(f(Lane{i}));
    used_ = to;
    most_used_ = std::max(most_used_, to);
    return Table<T>({&used_, from, to}, values, count);
  }

  template <class S, class F>
  S where(const S& set, F test) {
    S found = none_of(set);
    for_each(set, [&](Lane lane) {
      if (test(lane)) add(found, lane);
    });
    return found;
  }

  template <class S, class F>
  void each(const S& set, F body) {
    if constexpr (requires { memory_.backwards(number_); })
      if (memory_.backwards(number_)) return for_each_backwards(set, body);
    for_each(set, body);
  }

  template <class S, class F>
  void turns(const S& set, F body) {
    for_each(set, [&](Lane lane) { body(lane.i); });
  }

  template <class V>
  auto pick(const V& values, int i) {
    return values[Lane{i}];
  }

  template <class F>
  void once(F body) {
    body();
  }

  template <class T>
  T peek(const T* at) {
    return memory_.peek(number_, at);
  }

  // Waits.

  template <class S, class F, class V>
  S wait_any(const S& set, F need, V& seen) {
    return wait<false>(set, need, seen);
  }

  template <class S, class F, class V>
  S wait_all(const S& set, F need, V& seen) {
    return wait<true>(set, need, seen);
  }

  template <class S, class F, class V>
  S poll(const S& set, F need, V& seen) {
    if (failed()) return none_of(set);
    const S met = observe(set, need, seen);
    if (met.empty() && !set.empty()) memory_.missed(number_);
    return met;
  }

  // Moves.

  template <class F>
  void scatter(const TokenPieces& pieces, Set set, F to) {
    if (set.empty() || (failed() && !planted<Plants>(Canary::kWriteAfterAbort))) return;
    begin_moves();
    for_each(set, [&](Lane lane) { move_token(pieces, to(lane)); });
    memory_.moved(number_, uint32_t(set.count()));
  }

  template <class S, class F>
  void copy(const S& set, F piece) {
    if (failed()) return;
    begin_moves();
    for_each(set, [&](Lane lane) { memory_.move(number_, piece(lane), true); });
    memory_.moved(number_, uint32_t(set.count()));
  }

  template <class S, class F>
  void put(const S& set, F put) {
    if (failed()) return;
    for_each(set, [&](Lane lane) {
      const Put p = put(lane);
      if (memory_.rail_base(p.rank) != nullptr) {
        if (p.drained != nullptr) memory_.advance(number_, p.drained, p.drained_count);
        return;
      }
      if (batch_.puts_full()) flush();
      batch_.add(p);
    });
  }

  template <class F>
  void reduce(char* into, const SumShape& shape, const Sum& sum, F row) {
    if (failed()) return;
    const char* rows[3][kSetMax];
    const Set sets[3] = {sum.before, sum.here, sum.after};
    for (int k = 0; k < 3; ++k) {
      int count = 0;
      for_each(sets[k], [&](Lane lane) { rows[k][count++] = row(lane); });
    }
    begin_moves();
    memory_.sum(number_, {.into = into,
                          .elements = shape.elements,
                          .before = {rows[0], sets[0].count()},
                          .here = {rows[1], sets[1].count()},
                          .after = {rows[2], sets[2].count()},
                          .bias = {shape.bias[0], shape.bias[1]},
                          .row = shape.row,
                          .partial = shape.partial,
                          .out = shape.out,
                          .streamed = !shape.staged});
    memory_.moved(number_, 1);
  }

  // Marks.

  template <class S, class F>
  void publish(const S& set, F mark) {
    hold(set, mark, false);
  }

  template <class S, class F>
  void credit(const S& set, F mark) {
    hold(set, mark, true);
  }

  // Closing.

  void drain() {
    flush();
    memory_.drain(number_);
  }

  void settle() {
    flush();
    memory_.settle(number_);
  }

  Per<Word> claim(Word* counter) {
    Per<Word> claimed{};
    claimed[Lane{0}] = memory_.claim(number_, counter);
    return claimed;
  }

  bool arrive(Word* counter, Word n) {
    planted<Plants>(Canary::kDoneBeforeSettle) ? flush() : settle();
    return memory_.arrive(number_, counter) + 1 == n && !failed();
  }

  void broken(Broken what, uint32_t rank, Word seen, Word expected) {
    memory_.broken(
        number_, {.role = role_, .channel = channel_, .what = what, .rank = rank, .seen = seen, .expected = expected});
  }

  bool failed() const { return memory_.failed(number_); }

  size_t most_used() const { return most_used_; }  // the most bytes of near memory that tables took at one time

  void enter(Role role, int32_t channel) {
    role_ = role;
    channel_ = channel;
    if constexpr (requires { memory_.enters(number_, role, channel); }) memory_.enters(number_, role, channel);
  }

 private:
  template <class F>
  static void for_each(Set set, F body) {
    for (uint32_t bits = set.bits; bits != 0; bits &= bits - 1) body(Lane{std::countr_zero(bits)});
  }
  template <class F>
  static void for_each(const Members& members, F body) {
    for (int w = 0; w < members.word_count(); ++w)
      for (uint64_t bits = members.words[w]; bits != 0; bits &= bits - 1) body(Lane{w * 64 + std::countr_zero(bits)});
  }
  // Takes lanes in another order, if a Memory asks for that: `each` promises none.
  template <class F>
  static void for_each_backwards(Set set, F body) {
    for (int i = kSetMax; i-- > 0;)
      if (set.has(i)) body(Lane{i});
  }
  template <class F>
  static void for_each_backwards(const Members& members, F body) {
    for (int i = members.span; i-- > 0;)
      if (members.has(i)) body(Lane{i});
  }
  static Set none_of(Set) { return {}; }
  static Members none_of(const Members& members) {
    Members none;
    none.span = members.span;
    return none;
  }
  static void add(Set& set, Lane lane) { set.bits |= uint32_t(1) << lane.i; }
  static void add(Members& members, Lane lane) { members.add(lane.i); }

  void move_token(const TokenPieces& pieces, const Destination& landing) {
    if constexpr (requires { memory_.move_token(number_, pieces, landing); })
      return memory_.move_token(number_, pieces, landing);
    memory_.move(number_, {landing.row, pieces.row, pieces.row_bytes}, landing.staged);
    if (landing.scales != nullptr && pieces.scale_bytes != 0)
      memory_.move(number_, {landing.scales, pieces.scales, pieces.scale_bytes}, landing.staged);
    if (landing.extra != nullptr)
      memory_.move(number_, {landing.extra, pieces.extra, pieces.extra_bytes}, landing.staged);
  }

  void begin_moves() {
    if (!planted<Plants>(Canary::kNoEngineFence)) memory_.engine_fence(number_);
  }

  // Returns the lanes or members whose Need is met now. A word that falls, because its bytes come one after another,
  // does not make `seen` fall.
  template <class S, class F, class V>
  S observe(const S& set, F& need, V& seen) {
    return where(set, [&](Lane lane) {
      const Need n = need(lane);
      if (seen[lane] >= n.least) return true;
      const Word before = seen[lane], now = memory_.observe(number_, n.word);
      if (before < now || planted<Plants>(Canary::kTornTrusted)) seen[lane] = now;
      memory_.knows(number_, n.word, before, seen[lane]);
      return seen[lane] >= n.least;
    });
  }

  template <bool kAll, class S, class F, class V>
  S wait(const S& set, F& need, V& seen) {
    for (;;) {
      if (failed() || set.empty()) return none_of(set);
      const S met = observe(set, need, seen);
      if (kAll ? met.count() == set.count() : !met.empty()) return met;
      flush_before_wait();
      Park park{.needs = near_.needs, .count = 0, .all = kAll, .role = role_, .channel = channel_};
      for_each(set, [&](Lane lane) {
        if (!met.has(lane)) near_.needs[park.count++] = need(lane);
      });
      if (!memory_.park(number_, park)) return none_of(set);
    }
  }

  PendingMark pending(const PeerWord& word, Word count, bool credit) {
    return {word.at, {0, word.rank}, count, credit};
  }
  PendingMark pending(const RailWord& word, Word count, bool credit) {
    if (word.mapped == nullptr) return {nullptr, word, count, credit};
    return {reinterpret_cast<Word*>(word.mapped + word.offset), {0, word.rank}, count, credit};
  }

  template <class S, class F>
  void hold(const S& set, F& mark, bool credit) {
    if (set.empty() || failed()) return;
    for_each(set, [&](Lane lane) {
      const auto m = mark(lane);
      if (batch_.marks_full()) flush();
      batch_.add(pending(m.word, m.count, credit));
    });
    if (++held_ < memory_.publish_every()) return;
    flush();
    memory_.breathe(number_);
  }

  // Puts go first, then marks, each only once what it speaks for is done.
  void flush() {
    held_ = 0;
    if (!batch_.empty() && !failed()) {
      // The fence is always there: a release store does not order the streamed ones.
      if (!planted<Plants>(Canary::kNoStoreFence)) memory_.store_fence(number_);
      if (batch_.credits > 0 && !planted<Plants>(Canary::kCreditUndrained)) memory_.drain(number_);
      if (planted<Plants>(Canary::kCountAheadOfPuts)) send_marks();
      send_puts();
      send_marks();
      memory_.wake(number_, batch_);
    }
    batch_.clear();
  }

  void send_puts() {
    for (int i = 0; i < batch_.put_count; ++i) memory_.put(number_, batch_.puts[i]);
  }

  void send_marks() {
    for (int i = 0; i < batch_.mark_count; ++i) {
      const PendingMark& mark = batch_.marks[i];
      if (mark.at == nullptr)
        memory_.publish(number_, mark.rail, mark.count, mark.credit);
      else
        memory_.store(number_, mark.at, mark.rail.rank, mark.count);
    }
  }

  // A warp that waits has said all, so no rank is kept waiting by what this warp holds back.
  void flush_before_wait() {
    if (!planted<Plants>(Canary::kNoFlushBeforeWait)) flush();
  }

  Memory& memory_;
  const int number_;
  NearMemory near_;
  size_t used_ = 0, most_used_ = 0;  // bytes of near memory
  Role role_ = Role::kOpener;
  int32_t channel_ = -1;
  uint32_t held_ = 0;
  Batch batch_;
};

}  // namespace transload
