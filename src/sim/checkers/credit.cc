// Following every ring, and judging fills and credits.
#include "sim/checkers/credit.h"

namespace transload {
namespace {
constexpr size_t kKinds = size_t(RingKind::kCount);
}

CreditChecker::CreditChecker(const AddressBook& book, Word base) : book_(book) {
  uint64_t count = 0;
  for (uint32_t rank = 0; rank < book.ranks(); ++rank)
    for (size_t kind = 0; kind < kKinds; ++kind) {
      begin_.push_back(count);
      count += uint64_t(book.board(rank).geometry.channels) * book.members(rank, RingKind(kind));
    }
  rings_.assign(count, {base, base});
}

CreditChecker::Ring& CreditChecker::ring(const RingPlace& r) {
  const uint64_t members = book_.members(r.rank, r.kind);
  return rings_[begin_[r.rank * kKinds + size_t(r.kind)] + r.channel * members + r.member];
}

std::string CreditChecker::stores(uint64_t offset, size_t bytes) {
  if (!book_.holds(offset)) return "";
  RingPlace place = book_.find(offset);
  if (place.part != RingPart::kSlot) return "";
  const Ring& r = ring(place);
  const Board& b = book_.board(place.rank);
  const Word slots = slots_of(b.geometry, place.kind);
  const bool combine = place.kind == RingKind::kCombinePeer || place.kind == RingKind::kCombineRail;
  const uint64_t stride = combine ? b.geometry.sum_stride() : b.geometry.token_stride();
  for (uint64_t at = 0; at < bytes; at += stride, ++place.slot) {
    const Word ahead = (place.slot + slots - r.credited % slots) % slots;
    if (place.slot >= slots || r.credited + ahead >= r.published) continue;
    return "fills a slot that holds token " + std::to_string(r.credited + ahead) + " of its stream, of which only " +
           std::to_string(r.credited) + " are credited and " + std::to_string(r.published) + " are published";
  }
  return "";
}

std::string CreditChecker::counts(uint64_t offset, Word count) {
  if (!book_.holds(offset)) return "";
  const RingPlace place = book_.find(offset);
  if (place.part != RingPart::kTail && place.part != RingPart::kCredit) return "";
  const RingPlace at = book_.at_consumer(place);
  if (at.rank == kNobody) return "counts in a ring that nobody is at the other end of";
  Ring& r = ring(at);
  const Word slots = slots_of(book_.board(at.rank).geometry, at.kind);
  const bool tail = place.part == RingPart::kTail;
  Word& mine = tail ? r.published : r.credited;
  const std::string before = std::to_string(mine);
  if (count < mine) return "counts back from " + before + " to " + std::to_string(count);
  mine = count;
  if (tail && r.published > r.credited + slots)
    return "publishes " + std::to_string(r.published) + " where only " + std::to_string(r.credited) +
           " are credited and there are " + std::to_string(slots) + " slots";
  if (!tail && r.credited > r.published)
    return "credits " + std::to_string(r.credited) + " where only " + std::to_string(r.published) + " are published";
  return "";
}

}  // namespace transload
