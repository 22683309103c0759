// How puts and counts become runs of entries, completions drained words, and broken queues lost ranks.
#include "tests/support/soft_nic_link.h"

#include <algorithm>
#include <chrono>

#include "base/situations.h"

namespace transload::test {
namespace {

constexpr uint32_t kRunMost = 4;  // entries behind one doorbell, as few as a warp's

}  // namespace

SoftNicLink::SoftNicLink(SoftNic::Setup setup, bool freed_by_credits)
    : queues_(setup.queues),
      freed_by_credits_(freed_by_credits),
      late_(setup.settings.late),
      lost_ranks_(setup.regions.size()),
      nic_(std::move(setup)),
      writer_(nic_),
      sender_(OneLane{}, writer_) {
  for (const auto& queue : nic_.queues()) lines_.push_back({.queue = queue.get(), .asked = {}, .drains = {}});
}

// Gives the NIC what was asked for, if it still takes anything. Drained words are not written: they may be gone by now.
SoftNicLink::~SoftNicLink() {
  for (Line& line : lines_) {
    for (Asked& asked : line.asked) asked.drain.word = nullptr;
    for (Drain& drain : line.drains) drain.word = nullptr;
  }
  const auto asks = [](const Line& line) { return !line.asked.empty(); };
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::any_of(lines_.begin(), lines_.end(), asks) && std::chrono::steady_clock::now() < patience)
    if (!progress()) std::this_thread::yield();
}

void SoftNicLink::put(const Put& put) {
  const Drain asks{freed_by_credits_ ? nullptr : put.drained, put.drained_count};
  NicEntry entry{.rank = put.rank, .queue = put.queue, .to = put.offset, .from = put.from, .bytes = put.bytes};
  if (put.bytes == 0) entry.rank = kNobody;  // only its drained word is to be written
  line(put.rank, put.queue).asked.push_back({entry, false, asks});
  if (put.bytes == 0 && give(line(put.rank, put.queue))) drain(line(put.rank, put.queue));
}

void SoftNicLink::tell(const RailWord& to, Word count, bool credit) {
  Asked asked{{.rank = to.rank, .queue = to.queue, .to = to.offset, .count = count}, credit, {nullptr, 0}};
  if (credit) asked.least_turn = turn_ + late_;
  line(to.rank, to.queue).asked.push_back(asked);
  give(line(to.rank, to.queue));
}

// Gives the NIC runs of entries, the oldest first, while there is room.
bool SoftNicLink::give(Line& line) {
  bool gave = false;
  if (lost_ranks_[line.queue->rank]) {
    for (const Asked& asked : line.asked) line.drains.push_back(asked.drain);
    line.asked.clear();
    return drain(line);
  }
  const auto goes = [&](size_t i) { return i < line.asked.size() && line.asked[i].least_turn <= turn_; };
  while (goes(0)) {
    NicEntry run[kRunMost];
    // A run is sent whole or not at all, so that no part of one is sent twice.
    const size_t most = std::min(kRunMost, line.queue->room.depth);
    size_t count = 0;
    for (; count < most && goes(count); ++count) run[count] = line.asked[count].entry;
    const Sent sent = sender_.send(run);
    if (sent.how == Sending::kBroken) drain(line);
    if (sent.how == Sending::kFull) reached(Situation::kQueueFull);
    if (sent.how != Sending::kSent) break;
    for (size_t i = 0; i < count; ++i) {
      line.drains.push_back(line.asked.front().drain);
      line.drains.back().least = writer_.reserved(line.queue);
      line.asked.pop_front();
    }
    gave = true;
  }
  return gave;
}

bool SoftNicLink::drain(Line& line) {
  const uint64_t reserved = writer_.reserved(line.queue);
  const NicCompletion done = writer_.completion(line.queue);
  const bool lost = lost_ranks_[line.queue->rank];
  const uint64_t complete = reserved - line.queue->room.under_way(reserved, done.counter);
  bool drained = false;
  for (; !line.drains.empty() && (lost || line.drains.front().least <= complete); line.drains.pop_front()) {
    const Drain& drain = line.drains.front();
    if (drain.word != nullptr) std::atomic_ref(*drain.word).store(drain.count, std::memory_order_release);
    drained = true;
  }
  if (done.error != 0 && !lost)
    lose(line.queue->rank, "an entry of queue " + std::to_string(line.queue->number) + " failed with syndrome " +
                               std::to_string(done.error));
  return drained;
}

void SoftNicLink::lose(uint32_t rank, const std::string& reason) {
  lost_ranks_[rank] = true;
  lost_.push_back({rank, reason});
  for (uint32_t queue = 0; queue < queues_; ++queue) give(line(rank, queue));
}

bool SoftNicLink::progress() {
  ++turn_;
  bool moved = false;
  for (Line& line : lines_) {
    moved |= drain(line);
    moved |= give(line);
  }
  return moved;
}

// Drains stay until the entries that they wait for are complete, even where there is no word to write.
uint32_t SoftNicLink::busy_with() const {
  for (const Line& line : lines_) {
    const bool asks = std::any_of(line.asked.begin(), line.asked.end(), [](const Asked& a) { return !a.credit; });
    if (asks || (!freed_by_credits_ && !line.drains.empty())) return line.queue->rank;
  }
  return kNobody;
}

bool SoftNicLink::lost(LostPeer& peer) {
  if (lost_.empty()) return false;
  peer = std::move(lost_.front());
  lost_.pop_front();
  return true;
}

}  // namespace transload::test
