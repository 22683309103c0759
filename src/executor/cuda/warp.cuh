// CudaWarp: the 32 threads of a warp as one agent of the protocol. Lanes are threads; only verbs know it.
//
// Pipe (scatter.cuh or reduce.cuh) carries the moves that the warp's role is made of; the other kind, and what the copy
// engine cannot take (odd sizes), goes by plain loads and stores (plain.cuh). Rail (rail_mapped.cuh, rail_fifo.cuh or
// rail_ibgda.cuh) is how ranks of other nodes are reached.
#pragma once
#include <type_traits>

#include "base/canary.h"
#include "executor/cuda/checks.cuh"
#include "executor/cuda/marks.cuh"
#include "executor/cuda/order.cuh"
#include "executor/cuda/plain.cuh"
#include "executor/cuda/reduce.cuh"
#include "executor/cuda/scatter.cuh"
#include "executor/cuda/values.cuh"
#include "protocol/warp.h"

namespace transload {

// What a warp of a kernel has for itself: its near memory, and what each of its threads holds for the rail.
template <class Rail>
struct WarpMemory {
  Stages stages;
  char* tables;
  typename Rail::RailHeld& held;
};

template <class Pipe, class Rail>
class CudaWarp {
 public:
  using Plants = NoPlants;
  static constexpr bool kChecksGrants = false;
  using Members = CudaMembers;

  template <class T>
  using Per = CudaPer<T>;
  template <class T>
  using Table = CudaTable<T>;

  TRANSLOAD_DEVICE CudaWarp(const CudaRank& rank, const WarpMemory<Rail>& memory, const NearShape& shape)
      : pipe_(memory.stages, shape),
        rail_(*rank.queue, memory.held),
        landed_(shape.publish_every),
        read_(shape.credit_every),
        rank_(rank),
        tables_(memory.tables),
        table_bytes_(shape.table_bytes),
        lane_(lane_of_thread()) {}
  CudaWarp(const CudaWarp&) = delete;
  CudaWarp& operator=(const CudaWarp&) = delete;

  // Values.

  template <class T, class F>
  TRANSLOAD_DEVICE Per<T> per(Set set, F f) {
    return {set.has(lane_) ? T(f(Lane{lane_})) : T{}};
  }

  template <class T, class F>
  TRANSLOAD_DEVICE Table<T> table(int count, F f) {
    alike(count);
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 16);
    const uint32_t from = used_, begin = (from + 15) / 16 * 16, end = begin + uint32_t(count) * uint32_t(sizeof(T));
    T* const values = reinterpret_cast<T*>(tables_ + begin);
    if (!has_tables(end)) count = 0;  // the host gave room for the tables that the role names: protocol/tables.h
    __syncwarp();                     // all lanes have read the table that lay here before
#pragma unroll 1
    for (int i = lane_; i < count; i += 32) values[i] = f(Lane{i});
    __syncwarp();
    used_ = end;
    return Table<T>(values, &used_, from, end);
  }

  template <class F>
  TRANSLOAD_DEVICE Set where(Set set, F test) {
    return {__ballot_sync(kAllLanes, set.has(lane_) && test(Lane{lane_}))};
  }
  template <class F>
  TRANSLOAD_DEVICE CudaMembers where(const CudaMembers& members, F test) {
    CudaMembers found{0, members.span};
    for_mine(members, [&](Lane m) {
      if (test(m)) found.bits |= uint32_t(1) << (m.i / 32);
    });
    __syncwarp();
    return found;
  }

  template <class S, class F>
  TRANSLOAD_DEVICE void each(const S& set, F body) {
    __syncwarp();  // what the body overwrites has been read
    for_mine(set, body);
    __syncwarp();
  }

  template <class S, class F>
  TRANSLOAD_DEVICE void turns(const S& set, F body) {
    if (!alike(checks::shape_of(set))) return;
    for_turns(set, body);
  }

  template <class T>
  TRANSLOAD_DEVICE T pick(const Per<T>& values, int i) {
    return from_lane(values.mine, i);
  }
  template <class T>
  TRANSLOAD_DEVICE T pick(const Table<T>& values, int i) {
    return values[i];
  }

  template <class F>
  TRANSLOAD_DEVICE void once(F body) {
    if (lane_ == 0) body();
    __syncwarp();
  }

  template <class T>
  TRANSLOAD_DEVICE T peek(const T* at) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    const char* const from = reinterpret_cast<const char*>(at);
    if constexpr (sizeof(T) % 16 == 0) {  // records that are aligned to 16 bytes
      for (unsigned i = 0; i < sizeof(T) / 16; ++i) reinterpret_cast<uint4*>(&value)[i] = ptx::load128(from + 16 * i);
    } else if constexpr (sizeof(T) == 8) {
      const uint64_t bits = ptx::load64(from);
      memcpy(&value, &bits, 8);
    } else {
      static_assert(sizeof(T) == 4);
      const uint32_t bits = ptx::load32(from);
      memcpy(&value, &bits, 4);
    }
    return value;
  }

  // Waits.

  template <class S, class F, class V>
  TRANSLOAD_DEVICE S wait_any(const S& set, F need, V& seen) {
    alike(checks::shape_of(set));
    return wait<false>(set, need, seen);
  }
  template <class S, class F, class V>
  TRANSLOAD_DEVICE S wait_all(const S& set, F need, V& seen) {
    alike(checks::shape_of(set));
    return wait<true>(set, need, seen);
  }
  template <class S, class F, class V>
  TRANSLOAD_DEVICE S poll(const S& set, F need, V& seen) {
    if (!alike(checks::shape_of(set)) || failed_) return none_of(set);
    const S met = look(set, need, seen);
    after_look();
    return met;
  }

  // Moves.

  template <class F>
  TRANSLOAD_DEVICE void scatter(const TokenPieces& pieces, Set set, F to) {
    if (!alike(set.bits, pieces.row, pieces.row_bytes, pieces.scales, pieces.scale_bytes, pieces.extra,
               pieces.extra_bytes))
      return;
    if (set.empty() || failed_) return;
    const Destination mine = set.has(lane_) ? to(Lane{lane_}) : Destination{nullptr, nullptr, false};
    if (!stores({mine.row, pieces.row_bytes}) || !stores({mine.scales, pieces.scale_bytes}) ||
        !stores({mine.extra, pieces.extra_bytes}))
      return;
    constexpr bool kBulk = std::is_same_v<Pipe, ScatterPipe>;
    TokenPieces bulk = pieces;
    if (!kBulk || odd(pieces.extra, pieces.extra_bytes)) bulk.extra_bytes = 0;
    if (!kBulk || odd(pieces.scales, pieces.scale_bytes)) bulk.scale_bytes = 0;
    if constexpr (kBulk)
      pipe_.move(bulk, mine, [&] { step(); });
    else
      plain_copies({mine.row, pieces.row, uint32_t(pieces.row_bytes)});
    if (bulk.scale_bytes != pieces.scale_bytes)
      plain_copies({mine.scales, pieces.scales, uint32_t(pieces.scale_bytes)});
    if (bulk.extra_bytes != pieces.extra_bytes) plain_copies({mine.extra, pieces.extra, uint32_t(pieces.extra_bytes)});
  }

  template <class S, class F>
  TRANSLOAD_DEVICE void copy(const S& set, F piece) {
    if (!alike(checks::shape_of(set)) || failed_) return;
    for (int tile = 0; tile < tiles_of(set); ++tile) {
      const uint32_t bits = tile_of(set, tile);
      LanePiece mine{nullptr, nullptr, 0};
      if (bits >> lane_ & 1) {
        const Piece p = piece(Lane{tile * 32 + lane_});
        mine = {p.to, p.from, uint32_t(p.bytes)};
      }
      if (!stores({mine.to, mine.bytes})) return;
      copy_pieces(bits, mine);
    }
  }

  template <class S, class F>
  TRANSLOAD_DEVICE void put(const S& set, F put) {
    if constexpr (Rail::kPuts) {
      if (!rail_.puts() || !alike(checks::shape_of(set)) || failed_) return;
      for (int tile = 0; tile < tiles_of(set); ++tile) {
        const uint32_t bits = tile_of(set, tile);
        const bool mine = bits >> lane_ & 1;
        Put held{};
        if (mine) held = put(Lane{tile * 32 + lane_});
        while (bits != 0 && !rail_.hold(mine, held)) flush();
      }
    }
  }

  template <class F>
  TRANSLOAD_DEVICE void reduce(char* into, const SumShape& shape, Sum sum, F row) {
    if (!alike(into, shape.elements, shape.bias[0], shape.bias[1], sum.before.bits, sum.here.bits, sum.after.bits))
      return;
    if (failed_ || !stores({into, shape.elements * scalar_bytes(shape.out)})) return;
    const bool biased = shape.bias[0] != nullptr || shape.bias[1] != nullptr;
    // A single addition commutes, so the one row of `before` may be added last, and the sum goes one row after another.
    if (!biased && sum.before.count() == 1 && sum.after.empty()) sum = {{}, sum.here, sum.before};
    const bool mine = (sum.before | sum.here | sum.after).has(lane_);
    const char* const from = mine ? row(Lane{lane_}) : nullptr;
    const SumRows rows{.biases = (shape.bias[0] != nullptr) + (shape.bias[1] != nullptr),
                       .before = sum.before.count(),
                       .here = sum.here.count(),
                       .after = sum.after.count(),
                       .row = shape.row,
                       .partial = shape.partial,
                       .out = shape.out};
    if constexpr (std::is_same_v<Pipe, ReducePipe>)
      if (rows.row == Scalar::kBf16 && (shape.elements % kVector | odd(shape.bias)) == 0)
        return pipe_.sum(into, shape, rows, sum_lane(sum, rows, from), [&] { step<true>(); });
    sum_plainly(into, shape, sum, from);
  }

  // Marks.

  template <class S, class F>
  TRANSLOAD_DEVICE void publish(const S& set, F mark) {
    hold(landed_, set, mark);
  }
  template <class S, class F>
  TRANSLOAD_DEVICE void credit(const S& set, F mark) {
    hold(read_, set, mark);
  }

  // Closing.

  TRANSLOAD_DEVICE void drain() {
    flush();
    ptx::bulk_wait_read<0>();
    __syncwarp();
  }
  TRANSLOAD_DEVICE void settle() {
    flush();
    pipe_.template wait_landed<0>();
    __syncwarp();
  }
  TRANSLOAD_DEVICE Per<Word> claim(Word* counter) {
    alike(counter);
    Word was = 0;
    if (lane_ == 0) was = take_here(counter, 1);
    return {was};
  }
  TRANSLOAD_DEVICE bool arrive(Word* counter, Word n) {
    alike(counter, n);
    settle();
    Word was = 0;
    if (lane_ == 0) was = arrive_here(counter);
    return from_lane(was, 0) + 1 == n && !failed_;
  }
  TRANSLOAD_DEVICE void broken(Broken what, uint32_t rank, Word seen, Word expected) {
    if (lane_ == 0) report(DeviceFailure::kBroken, {rank, Word(what), seen, expected});
    failed_ = true;
    __syncwarp();
  }
  TRANSLOAD_DEVICE bool failed() const { return failed_; }
  TRANSLOAD_DEVICE void enter(Role role, int32_t channel) {
    alike(int(role), channel);
    role_ = role;
    channel_ = channel;
  }
  // The kernel may end only after this: no move is in flight any more.
  TRANSLOAD_DEVICE void retire() {
    while (pipe_.done() != pipe_.issued()) pipe_.finish_one();
    ptx::bulk_wait_landed<0>();
    if constexpr (Rail::kPuts) report_rail();
    __syncwarp();
  }

 private:
  // The whole warp calls this. In builds that check (checks.cuh) it is false, and reports a fault, if lanes give
  // different values.
  template <class... T>
  TRANSLOAD_DEVICE bool alike(T... values) {
    if constexpr (checks::kOn) {
      const int lane = checks::first_unlike(values...);
      if (lane > 0) failed_ = true;
      if (lane == lane_) report_own(Broken::kLanes, Word(lane), 0);
      __syncwarp();
      return lane < 0;
    }
    return true;
  }
  // The whole warp calls this. In builds that check it is false, and reports a fault, if a lane would store out of
  // bounds. `mine` is where my lane stores, if it is not null. With `own` that may be memory of the caller, too.
  TRANSLOAD_DEVICE bool stores(const StoreArea& mine, bool own = true) {
    if constexpr (checks::kOn) {
      const bool good = mine.base == nullptr || checks::may_store(*rank_.areas, mine.base, mine.bytes, own);
      if (!good) report_own(Broken::kBounds, checks::bits_of(mine.base), mine.bytes);
      if (__all_sync(kAllLanes, good)) return true;
      failed_ = true;
      return false;
    }
    return true;
  }
  TRANSLOAD_DEVICE bool has_tables(uint32_t end) {
    if constexpr (checks::kOn) {
      if (end > table_bytes_) failed_ = true;
      if (end > table_bytes_ && lane_ == 0) report_own(Broken::kBounds, checks::bits_of(tables_), end);
      __syncwarp();
      return end <= table_bytes_;
    }
    return true;
  }
  TRANSLOAD_DEVICE void report_own(Broken what, Word seen, Word expected) {
    report(DeviceFailure::kBroken, {uint32_t(glanced(&rank_.fault->rank)), Word(what), seen, expected});
  }

  template <class T>
  TRANSLOAD_DEVICE static T from_lane(const T& value, int lane) {
    static_assert(sizeof(T) % 4 == 0 && std::is_trivially_copyable_v<T>);
    uint32_t words[sizeof(T) / 4];
    memcpy(words, &value, sizeof(T));
#pragma unroll
    for (unsigned i = 0; i < sizeof(T) / 4; ++i) words[i] = __shfl_sync(kAllLanes, words[i], lane);
    T result;
    memcpy(&result, words, sizeof(T));
    return result;
  }

  TRANSLOAD_DEVICE static Set none_of(Set) { return {}; }
  TRANSLOAD_DEVICE static CudaMembers none_of(const CudaMembers& members) { return {0, members.span}; }
  TRANSLOAD_DEVICE static bool same(Set a, Set b) { return a == b; }
  TRANSLOAD_DEVICE static bool same(const CudaMembers& a, const CudaMembers& b) {
    return __all_sync(kAllLanes, a.bits == b.bits);
  }

  // Returns the lanes or members whose Need is met now. A word that arrives in part does not make `seen` fall.
  template <class S, class F, class V>
  TRANSLOAD_DEVICE S look(const S& set, F& need, V& seen) {
    __syncwarp();  // `seen` may be a table: all lanes have read the values that this look overwrites
    return where(set, [&](Lane l) {
      const Need n = need(l);
      if (seen[l] >= n.least) return true;
      const Word now = observed(n.word);
      if (now > seen[l]) seen[l] = now;
      return now >= n.least;
    });
  }
  // Makes what one lane has acquired hold for the other lanes, and for the copy engine.
  TRANSLOAD_DEVICE void after_look() {
    __syncwarp();
    ptx::engine_fence();
  }

  template <bool kAll, class S, class F, class V>
  TRANSLOAD_DEVICE S wait(const S& set, F& need, V& seen) {
    uint64_t since = 0;
    for (uint32_t looks = 0;; ++looks) {
      if (failed_) return none_of(set);
      const S met = look(set, need, seen);
      if (kAll ? same(met, set) : !met.empty()) {
        after_look();
        if (looks >= kLooksToAskHost) say_goes_on();
        return met;
      }
      if (set.empty()) return met;
      if (looks == 0) {
        flush();
        since = ptx::now_ns();
      }
      if (looks % kLooksToCheck == kLooksToCheck - 1) check(set, need, seen, {since, looks});
    }
  }

  static constexpr uint32_t kLooksToCheck = 32, kLooksToAskHost = 1024;  // the host's word is far away
  struct Waited {
    uint64_t since;
    uint32_t looks;
  };
  template <class S, class F, class V>
  TRANSLOAD_DEVICE void check(const S& set, F& need, V& seen, Waited waited) {
    const bool asks = waited.looks % kLooksToAskHost == kLooksToAskHost - 1;
    if (__any_sync(kAllLanes, glanced_here(rank_.gave_up) != 0))
      failed_ = true;
    else if (longer_than(waited, rank_.deadline_ns) || asks)
      tell(set, need, seen, waited);
    __syncwarp();
  }
  TRANSLOAD_DEVICE static bool longer_than(const Waited& waited, uint64_t ns) {
    return __any_sync(kAllLanes, ptx::now_ns() - waited.since > ns);
  }

  struct Record {
    uint32_t whom;
    Word what, seen, expected;
  };
  // Reports the first unmet need; needs on my own rank come last. A wait for nothing but my own warps expires after two
  // deadlines, so that their waits, which began within a deadline of it, accuse somebody first.
  template <class S, class F, class V>
  TRANSLOAD_DEVICE void tell(const S& set, F& need, V& seen, Waited waited) {
    constexpr uint32_t kMine = uint32_t(1) << 30;
    const Word me = glanced(&rank_.fault->rank);
    uint32_t place = ~uint32_t(0);  // place of the first unmet need of my lane
    Record first{};
    for_mine(set, [&](Lane l) {
      const Need n = need(l);
      const uint32_t at = uint32_t(l.i) + (n.whom == me ? kMine : 0);
      if (seen[l] >= n.least || at >= place) return;
      place = at;
      first = {n.whom, Word(n.what), seen[l], n.least};
    });
    const uint32_t least = __reduce_min_sync(kAllLanes, place);
    const bool of_mine = least >= kMine;
    if (longer_than(waited, of_mine ? 2 * rank_.deadline_ns : rank_.deadline_ns)) {
      if (place == least) report(DeviceFailure::kExpired, first);
      failed_ = true;
      return;
    }
    if (place == least && !of_mine) say_waiting(first);
    const bool aborted = lane_ == 0 && glanced(rank_.abort) != 0;
    if (aborted) report(DeviceFailure::kAborted, {0, 0, 0, 0});
    failed_ = __any_sync(kAllLanes, aborted);
  }

  // Tells the host, for its heartbeats, whom this warp waits for. It is told again while the wait lasts, because other
  // warps tell theirs in the same place.
  TRANSLOAD_DEVICE void say_waiting(const Record& record) {
    const Word whom = Word(record.whom) + 1;
    if (record.what == Word(Waiting::kDone))
      show_to_all(&rank_.waits_for->to_finish, whom);
    else
      show_to_all(&rank_.waits_for->peer, whom);
  }
  TRANSLOAD_DEVICE void say_goes_on() {
    if (lane_ == 0) {
      show_to_all(&rank_.waits_for->peer, 0);
      show_to_all(&rank_.waits_for->to_finish, 0);
    }
  }

  // One lane calls it. Only the first failure of the rank is kept.
  TRANSLOAD_DEVICE void report(DeviceFailure failure, const Record& record) {
    if (!first_to_set(rank_.gave_up)) return;
    write_fault(rank_.fault, failure, {role_, channel_, rank_.deadline_ns}, record);
  }
  struct FaultSite {
    Role role;
    int32_t channel;
    uint64_t deadline_ns;
  };
  // This is not inlined, because faults are rare and every verb would have a copy.
  __device__ __noinline__ static void write_fault(DeviceFault* fault, DeviceFailure failure, FaultSite caller,
                                                  Record record) {
    fault->role = Word(caller.role);
    fault->channel = Word(int64_t(caller.channel));
    fault->whom = record.whom;
    fault->what = record.what;
    fault->seen = record.seen;
    fault->expected = record.expected;
    fault->deadline_ns = caller.deadline_ns;
    publish_to_all(&fault->set, Word(failure));
  }

  TRANSLOAD_DEVICE static Word* key(const PeerWord& word) { return word.at; }
  TRANSLOAD_DEVICE static Word* key(const RailWord& word) { return Rail::key(word); }
  TRANSLOAD_DEVICE static uint32_t tile_of(Set set, int) { return set.bits; }
  TRANSLOAD_DEVICE static uint32_t tile_of(const CudaMembers& members, int tile) {
    return __ballot_sync(kAllLanes, members.bits >> tile & 1);
  }
  TRANSLOAD_DEVICE static int tiles_of(Set) { return 1; }
  TRANSLOAD_DEVICE static int tiles_of(const CudaMembers& members) { return members.tiles(); }

  template <class S, class F>
  TRANSLOAD_DEVICE void hold(HeldMarks& marks, const S& set, F& mark) {
    if (!alike(checks::shape_of(set)) || failed_ || set.empty()) return;
    for (int tile = 0; tile < tiles_of(set); ++tile) {
      const uint32_t bits = tile_of(set, tile);
      Word* word = nullptr;
      Word count = 0;
      if (bits >> lane_ & 1) {
        const auto m = mark(Lane{tile * 32 + lane_});
        word = key(m.word);
        count = m.count;
      }
      if (!stores({Rail::store_at(word), sizeof(Word)}, false)) return;
      for_turns(Set{bits}, [&](int l) {
        Word* const at = reinterpret_cast<Word*>(from_lane(reinterpret_cast<Word>(word), l));
        const Word n = from_lane(count, l);
        if (marks.add(at, n)) return;
        flush();
        marks.add(at, n);
      });
    }
    if (marks.called(pipe_.issued())) promoted(marks);
  }
  // Puts become due with the marks that speak for them.
  TRANSLOAD_DEVICE void promoted(const HeldMarks& marks) {
    if constexpr (Rail::kPuts)
      if (&marks == &landed_) rail_.promote();
  }
  // Returns the function that sets held marks through the rail.
  TRANSLOAD_DEVICE auto setter(RailVerb verb) {
    return [this, verb](Word* key, Word count) { rail_.mark(verb, key, count); };
  }
  // The group is lost if the rail could not be asked.
  TRANSLOAD_DEVICE void heed_rail() {
    if constexpr (Rail::kPuts)
      if (rail_.asked() != Asked::kTaken) failed_ = true;
  }
  TRANSLOAD_DEVICE void report_rail() {
    const Asked asked = rail_.asked();
    if (asked == Asked::kTaken || asked == Asked::kGaveUp || lane_ != 0) return;
    const Word me = glanced(&rank_.fault->rank);
    report(asked == Asked::kExpired ? DeviceFailure::kExpired : DeviceFailure::kAborted,
           {rail_.whom(uint32_t(me)), Word(Rail::kWaits), rail_.taken(), rail_.least()});
  }

  // Finishes one move, then sets the marks that are due.
  template <bool kHot = false>
  TRANSLOAD_DEVICE void step() {
    pipe_.template finish_one<kHot>();
    if (read_.due() && int32_t(pipe_.done() - read_.due_at()) >= 0) read_.set_due(setter(RailVerb::kCredit));
    if (landed_.due() && int32_t(pipe_.done() - landed_.due_at()) >= Pipe::kLandedAfter) {
      pipe_.template wait_landed<Pipe::kLandedAfter>();
      if constexpr (Rail::kPuts) rail_.put_due();
      if (landed_.set_due(setter(RailVerb::kPublish))) promoted(landed_);
    }
    heed_rail();
  }

  TRANSLOAD_DEVICE void flush() {
    while (pipe_.done() != pipe_.issued()) step();
    if (failed_) {
      read_.clear();
      landed_.clear();
      if constexpr (Rail::kPuts) rail_.clear();
      return;
    }
    if (!read_.empty()) read_.set_all(setter(RailVerb::kCredit));
    if (landed_.empty() && !holds_puts()) return heed_rail();
    pipe_.template wait_landed<0>();
    if constexpr (Rail::kPuts) rail_.put_all();
    landed_.set_all(setter(RailVerb::kPublish));
    heed_rail();
  }
  TRANSLOAD_DEVICE bool holds_puts() const {
    if constexpr (Rail::kPuts) return rail_.holds_puts();
    return false;
  }

  // True for what the copy engine does not take: it takes multiples of 16.
  TRANSLOAD_DEVICE static bool odd(const char* at, uint64_t bytes) {
    return ((bytes | reinterpret_cast<uint64_t>(at)) & 15) != 0;
  }
  TRANSLOAD_DEVICE static uint64_t odd(const char* const (&bias)[2]) {
    return (reinterpret_cast<uint64_t>(bias[0]) | reinterpret_cast<uint64_t>(bias[1])) & 15;
  }
  // Copies to `mine.to` of each lane, where it is not null.
  TRANSLOAD_DEVICE static void plain_copies(const LanePiece& mine) {
    for (uint32_t bits = __ballot_sync(kAllLanes, mine.to != nullptr); bits != 0; bits &= bits - 1)
      copy_first<1, 4>(bits, mine);
    __syncwarp();
  }

  // Where this lane's row lies in a stage.
  TRANSLOAD_DEVICE SumLane sum_lane(const Sum& sum, const SumRows& rows, const char* from) const {
    const Set below = Set::first(lane_);
    const uint32_t row = rows.row_bytes(), partial = rows.partial_bytes();
    uint32_t place = uint32_t(rows.biases) * row;
    if (sum.before.has(lane_)) return {from, place + uint32_t((sum.before & below).count()) * partial, partial};
    place += uint32_t(rows.before) * partial;
    if (sum.here.has(lane_)) return {from, place + uint32_t((sum.here & below).count()) * row, row};
    place += uint32_t(rows.here) * row;
    return {from, place + uint32_t((sum.after & below).count()) * partial, partial};
  }

  Pipe pipe_;
  Rail rail_;
  HeldMarks landed_, read_;
  const CudaRank rank_;
  char* const tables_;
  const uint32_t table_bytes_;  // only builds that check use this
  const int lane_;
  uint32_t used_ = 0;  // bytes of the tables in use
  Role role_ = Role::kOpener;
  int32_t channel_ = -1;
  bool failed_ = false;
};

}  // namespace transload
