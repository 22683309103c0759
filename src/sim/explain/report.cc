// Putting one event into words.
#include "sim/explain/report.h"

#include <cstdio>
#include <iterator>

#include "protocol/warp.h"
#include "sim/world/timeline.h"

namespace transload {
namespace {

constexpr const char* kFaults[] = {"dies",
                                   "stands still",
                                   "is slow from now on",
                                   "loses its link to",
                                   "is cut off",
                                   "computes for longer than the deadline",
                                   "leaves the group",
                                   "calls something else",
                                   "sees the arbiter's process end",
                                   "sees the arbiter stand still",
                                   "has its proxy stand still",
                                   "fails, and says so"};
static_assert(std::size(kFaults) == size_t(ScenarioFaultKind::kCount));

Teller teller_of(const Event& e) { return {e.group, e.rank, e.warp}; }

bool begins_flight(Happened what) {
  return what == Happened::kMove || what == Happened::kSum || what == Happened::kPut || what == Happened::kMark;
}

bool same_ring(const RingPlace& a, const RingPlace& b) {
  return a.rank == b.rank && a.kind == b.kind && a.channel == b.channel && a.member == b.member;
}

}  // namespace

bool Focus::holds(uint64_t offset, uint64_t bytes) const {
  if (offset == 0) return false;
  if (!ring && offset < end && begin < offset + bytes) return true;
  if (book == nullptr || !book->holds(offset)) return false;
  if (!ring) return bytes == sizeof(Word) && book->text(offset) == "the word of " + name;
  const RingPlace found = book->find(offset);
  return found.part != RingPart::kNone && same_ring(book->at_consumer(found), place);
}

std::string Focus::text(const World& world) const {
  if (!ring) return world.address_text(begin);
  const uint32_t from = book->producer(place);
  return std::string("the ") + name_of(place.kind) + " from " +
         (from == kNobody ? "nobody" : "rank " + std::to_string(from)) + " to rank " + std::to_string(place.rank) +
         ", channel " + std::to_string(place.channel) + " (" +
         std::to_string(slots_of(book->board(place.rank).geometry, place.kind)) + " slots)";
}

Focus focus_on(const World& world, uint64_t offset, uint64_t bytes) {
  Focus focus;
  focus.book = offset == 0 ? nullptr : world.book_of(offset);
  if (focus.book == nullptr) return focus;
  const RingPlace found = focus.book->find(offset);
  focus.ring = found.part != RingPart::kNone;
  if (focus.ring) focus.place = focus.book->at_consumer(found);
  focus.ring &= focus.place.rank != kNobody;
  const std::string text = focus.book->text(offset);
  if (text.starts_with("the ")) focus.name = text.substr(4);
  focus.begin = offset;
  focus.end = offset + bytes;
  return focus;
}

std::string Report::time(uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f us", double(ns - Timeline::kBeginNs) / 1000);
  return text;
}

std::string Report::who(const Event& e) const {
  std::string text = (e.group > 0 ? "group " + std::to_string(e.group) + ", " : "") + "rank " + std::to_string(e.rank);
  const auto role = roles_.find(teller_of(e));
  if (e.warp == kProxyWarp) return text + " proxy";
  if (e.warp < 0 || role == roles_.end()) return text;
  text += std::string(" ") + kRoleNames[role->second >> 32];
  const int32_t channel = int32_t(uint32_t(role->second));
  return channel < 0 ? text : text + ", channel " + std::to_string(channel);
}

// Parts of the ring that the story is about have short names.
std::string Report::place(uint64_t offset) const {
  if (offset == 0) return "private memory";
  if (!focus_.ring || !focus_.holds(offset, 1)) return world_.address_text(offset);
  const RingPlace at = focus_.book->find(offset);
  switch (at.part) {
    case RingPart::kTail:
      return "the tail";
    case RingPart::kCredit:
      return "the credit";
    case RingPart::kStaged:
      return "staged slot " + std::to_string(at.slot);
    default:
      return "slot " + std::to_string(at.slot);
  }
}

const Tale* Report::tale_of(uint64_t flight) const {
  const auto number = flights_.find(flight);
  return number == flights_.end() ? nullptr : &tales_.at(number->second);
}

// True if a warp looks at a word again and sees the same count.
bool Report::repeats(const Event& e) {
  if (e.what != Happened::kObserved) return false;
  uint64_t& last = seen_.try_emplace({teller_of(e), e.b}, ~uint64_t(0)).first->second;
  return std::exchange(last, e.c) == e.c;
}

bool Report::concerns(const Event& e) const {
  if (e.b == 0 && e.from == 0) return false;
  const bool moves = e.what == Happened::kMove || e.what == Happened::kPut || e.what == Happened::kLanded;
  if (e.what == Happened::kBroken) return false;
  return focus_.holds(e.b, moves ? std::max<uint64_t>(e.c, 1) : 8) || focus_.holds(e.from, moves ? e.c : 1);
}

bool Report::tell(const Event& e, uint64_t number) {
  if (e.what == Happened::kEnters) roles_[teller_of(e)] = e.c;
  if (begins_flight(e.what)) {
    // Once its place in Flights is taken again, a flight is kept only if it concerns the story.
    if (const auto old = flights_.find(e.a); old != flights_.end() && !concerns(tales_.at(old->second).begun))
      tales_.erase(old->second);
    flights_[e.a] = number;
    tales_[number] = {e, number, who(e)};
  }
  if (e.what == Happened::kCaptured || e.what == Happened::kLanded || e.what == Happened::kCounted) {
    if (const auto flight = flights_.find(e.a); flight != flights_.end()) {
      Tale& tale = tales_.at(flight->second);
      if (e.what == Happened::kCaptured) tale.read_at = e.time;
      if (e.what == Happened::kLanded) tale.landed_bytes += e.c;
      if (e.what == Happened::kCounted) tale.counted_at = e.time;
    }
  }
  return concerns(e) && !repeats(e);
}

std::string Report::does(const Event& e) const {
  const std::string at = place(e.b), count = std::to_string(e.c), bytes = count + " bytes";
  const Tale* const tale = tale_of(e.a);
  const std::string its = tale == nullptr ? "" : " of event " + std::to_string(tale->number);
  const std::string from = e.from == 0 ? "" : " from " + place(e.from);
  switch (e.what) {
    case Happened::kMove:
      return "begins to store " + bytes + from + " to " + at;
    case Happened::kSum:
      return "begins to sum " + count + " elements into " + at;
    case Happened::kPut:
      return "puts " + bytes + from + " to " + at;
    case Happened::kMark:
      return at == "the credit" ? "credits: " + count + " taken so far" : "publishes " + count + " on " + at;
    case Happened::kCaptured:
      return ": " + at + " has been read" + (its.empty() ? "" : ", for the flight" + its);
    case Happened::kDrained:
      return ": the network lets go of " + at + its + ": drained so far " + count;
    case Happened::kLanded:
      return ": " + bytes + its + " land in " + at;
    case Happened::kCounted:
      return ": its count" + its + " lands: " + at + " is " + count;
    case Happened::kTorn:
      return ": the low bytes of its count" + its + " land: " + at + " is " + count + " for now";
    case Happened::kObserved:
      return "observes " + at + ": " + count;
    case Happened::kWaits:
      return "waits until " + at + " is " + count;
    case Happened::kFence:
      return "orders its streamed stores (fence)";
    case Happened::kEngine:
      return "shows its copy engine what it has observed (fence)";
    case Happened::kDrain:
      return "drains: its sources are read";
    case Happened::kSettle:
      return "settles: its stores have landed";
    case Happened::kCall:
      return "begins call " + std::to_string(e.a);
    case Happened::kReturned:
      return "has returned from all its calls";
    case Happened::kFault:
      return kFaults[e.a] + (e.a == uint64_t(ScenarioFaultKind::kDeadLink) ? " rank " + count : "");
    case Happened::kVerdict:
      return "reports a fault: " + std::string(name_of(FaultKind(e.c))) + ", rank " + std::to_string(e.a);
    default:
      return "proceeds";
  }
}

std::string Report::line(const Event& e, uint64_t number) const {
  char head[48];
  std::snprintf(head, sizeof head, "%12s  event %-7llu ", time(e.time).c_str(), (unsigned long long)number);
  const std::string does_text = does(e);
  return head + who(e) + (does_text[0] == ':' ? "" : " ") + does_text + "\n";
}

}  // namespace transload
