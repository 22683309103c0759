// When moves, puts and counts of a rank are done.
#include "sim/time/timed_memory.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/near.h"

namespace transload {
namespace {

constexpr uint64_t kLookNs = 100;  // time between two looks of a warp that polls

}  // namespace

void TimedMemory::sleep(uint64_t until) {
  const int fiber = s_.seeded->running();
  s_.timeline->at(until, [seeded = s_.seeded, fiber] { seeded->wake(fiber); });
  s_.seeded->block();
}

uint32_t TimedMemory::rank_of(const char* at) const {
  if (at < s_.regions) return rank_;
  const uint64_t rank = uint64_t(at - s_.regions) / s_.region_bytes;
  return rank < s_.ranks ? uint32_t(rank) : rank_;
}

// Returns when the warp's moves so far, and `bytes` more, have left near memory, at the warp's part of an SM's speed.
uint64_t TimedMemory::engine(WarpTime& warp, uint64_t bytes) {
  const double gb_s = s_.machine->sm_gb_s / kWarpsOfBlock;
  warp.free_at = std::max(warp.free_at, now()) + uint64_t(double(bytes) / gb_s);
  return warp.free_at;
}

void TimedMemory::store(int w, const Piece& piece) {
  WarpTime& warp = warps_[size_t(w)];
  uint64_t landed = engine(warp, piece.bytes);
  if (const uint32_t to = rank_of(piece.to); to != rank_) {
    const ModelLinks::Transfer transfer{rank_, to, false, piece.bytes};
    const ModelLinks::Passage passage = s_.links->leave(transfer, now());
    warp.free_at = std::max(warp.free_at, passage.left);
    landed = std::max(warp.free_at + s_.machine->scale_up_latency_ns, s_.links->arrive(transfer, passage.begins));
  }
  warp.landed_at = std::max(warp.landed_at, landed);
}

void TimedMemory::load(int w, const char* from, uint64_t bytes) {
  WarpTime& warp = warps_[size_t(w)];
  engine(warp, bytes);
  const uint32_t owner = rank_of(from);
  if (owner == rank_) return;
  const ModelLinks::Transfer transfer{owner, rank_, false, bytes};
  warp.free_at = std::max(warp.free_at, s_.links->arrive(transfer, s_.links->leave(transfer, now()).begins));
}

void TimedMemory::move(int w, const Piece& piece, bool) {
  if (piece.bytes == 0) return;
  std::memcpy(piece.to, piece.from, piece.bytes);
  store(w, piece);
}

void TimedMemory::move_token(int w, const TokenPieces& pieces, const Destination& landing) {
  store(w, {landing.row, pieces.row, pieces.row_bytes});
  const auto move_rest = [&](const Piece& piece) {
    if (piece.to == nullptr || piece.bytes == 0) return;
    if (!landing.staged) return move(w, piece, false);
    warps_[size_t(w)].staged.push_back(piece);
    store(w, piece);
  };
  move_rest({landing.scales, pieces.scales, pieces.scale_bytes});
  move_rest({landing.extra, pieces.extra, pieces.extra_bytes});
}

void TimedMemory::sum(int w, const simd::SumJob& job) {
  for (const simd::Rows* rows : {&job.before, &job.here, &job.after})
    for (int i = 0; i < rows->count; ++i)
      load(w, rows->at[i], job.elements * scalar_bytes(rows == &job.here ? job.row : job.partial));
  WarpTime& warp = warps_[size_t(w)];
  warp.landed_at = std::max(warp.landed_at, warp.free_at);
}

// The warp waits until a stage of its near memory is free for the next move.
void TimedMemory::moved(int w, uint32_t) {
  WarpTime& warp = warps_[size_t(w)];
  warp.stages[warp.moves++ % kStages] = warp.free_at;
  if (const uint64_t free = warp.stages[warp.moves % kStages]; free > now()) sleep(free);
}

void TimedMemory::settle(int w) {
  WarpTime& warp = warps_[size_t(w)];
  give_credits(warp);
  if (warp.landed_at > now()) sleep(warp.landed_at);
}

void TimedMemory::put(int w, const Put& put) {
  WarpTime& warp = warps_[size_t(w)];
  char* const to = region(put.rank) + put.offset;
  if (put.queue == 0) {
    std::memcpy(to, put.from, put.bytes);
  } else {
    std::erase_if(warp.staged, [&](const Piece& piece) {
      if (piece.to < put.from || piece.to >= put.from + put.bytes) return false;
      std::memcpy(to + (piece.to - put.from), piece.from, piece.bytes);
      return true;
    });
  }
  warp.messages.push_back({.to = put.rank,
                           .bytes = put.bytes,
                           .word = put.drained,
                           .count = put.drained_count,
                           .put = true,
                           .queue = put.queue});
}

void TimedMemory::publish(int w, const RailWord& to, Word count, bool credit) {
  WarpTime& warp = warps_[size_t(w)];
  Word* const word = reinterpret_cast<Word*>(region(to.rank) + to.offset);
  const RailMessage message{
      .to = to.rank, .bytes = sizeof(Word), .word = word, .count = count, .put = false, .queue = to.queue};
  if (!credit) return warp.messages.push_back(message);
  ++warp.credit_calls;
  const auto held = std::find_if(warp.credits.begin(), warp.credits.end(),
                                 [&](const RailMessage& other) { return other.word == word; });
  if (held == warp.credits.end())
    warp.credits.push_back(message);
  else
    held->count = std::max(held->count, count);
  if (warp.credit_calls >= s_.credit_every) give_credits(warp);
}

// Credits are given once their sources have been read. The time at which moves leave near memory stands for that.
void TimedMemory::give_credits(WarpTime& warp) {
  warp.credit_calls = 0;
  if (warp.credits.empty()) return;
  s_.traffic->hand_over(rank_, std::move(warp.credits), std::max(warp.free_at, now()));
  warp.credits.clear();
}

void TimedMemory::store(int w, Word* at, uint32_t reader, Word count) {
  const uint64_t landed = std::max(warps_[size_t(w)].landed_at, now());
  const uint64_t when = landed + (reader == rank_ ? 0 : s_.machine->scale_up_latency_ns);
  s_.timeline->at(when, [waits = s_.waits, at, count] { waits->land(at, count); });
}

// FiberWarp calls this at the end of a flush: its puts and counts leave once the moves before them have landed.
void TimedMemory::wake(int w, const Batch&) {
  WarpTime& warp = warps_[size_t(w)];
  if (warp.messages.empty()) return;
  s_.traffic->hand_over(rank_, std::move(warp.messages), std::max(warp.landed_at, now()));
  warp.messages.clear();
}

bool TimedMemory::park(int w, Park& park) {
  give_credits(warps_[size_t(w)]);
  const bool for_slot = std::any_of(park.needs, park.needs + park.count, [](const Need& need) {
    return need.what == Waiting::kCredit || need.what == Waiting::kDrained;
  });
  does(w, for_slot ? Doing::kWaitsForSlot : Doing::kWaits);
  s_.waits->park(park);
  does(w, Doing::kStores);
  return true;
}

void TimedMemory::missed(int w) {
  give_credits(warps_[size_t(w)]);
  sleep(now() + kLookNs);
}

void TimedMemory::broken(int, const BrokenRecord& record) {
  TRANSLOAD_CHECK(record.rank == kNobody);  // no rank breaks a promise in a world with time
}

void TimedMemory::enters(int w, Role role, int32_t) {
  warps_[size_t(w)].role = role;
  does(w, Doing::kStores);
}

void TimedMemory::ends(int w) { does(w, Doing::kGone); }

void TimedMemory::does(int w, Doing doing) {
  WarpTime& warp = warps_[size_t(w)];
  const Doing before = warp.doing;
  if (doing == before) return;
  warp.doing = doing;
  if (warp.role == feeders_) s_.times->feeder(rank_, before, doing);
  if (warp.role == takers_) s_.times->taker(before, doing);
}

}  // namespace transload
