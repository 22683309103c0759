// How parcels pass proxies, queues and ports.
#include "sim/time/traffic.h"

#include <algorithm>

namespace transload {
namespace {

template <class T>
uint32_t take(std::vector<T>& all, std::vector<uint32_t>& free) {
  if (free.empty()) {
    all.emplace_back();
    return uint32_t(all.size() - 1);
  }
  const uint32_t number = free.back();
  free.pop_back();
  return number;
}

}  // namespace

void Traffic::hand_over(uint32_t from, std::vector<RailMessage> messages, uint64_t when) {
  const uint32_t number = take(hand_overs_, free_hand_overs_);
  hand_overs_[number] = {from, std::move(messages)};
  w_.timeline->at(when, [this, number] { sort(number); });
}

// Finds or opens the parcel for a message. With a proxy there is one queue to each rank.
uint32_t Traffic::parcel_of(uint32_t from, const RailMessage& message) {
  const uint32_t queue = w_.machine->rails == RailMode::kProxy ? 0 : message.queue;
  for (const uint32_t number : open_)
    if (parcels_[number].to == message.to && parcels_[number].queue == queue) return number;
  const uint32_t number = take(parcels_, free_parcels_);
  Parcel& parcel = parcels_[number];
  parcel.from = from;
  parcel.to = message.to;
  parcel.queue = queue;
  parcel.bytes = parcel.messages = 0;
  parcel.next = kNone;
  parcel.counts.clear();
  parcel.drained.clear();
  open_.push_back(number);
  return number;
}

void Traffic::sort(uint32_t number) {
  open_.clear();
  for (const RailMessage& message : hand_overs_[number].messages) {
    Parcel& parcel = parcels_[parcel_of(hand_overs_[number].from, message)];
    parcel.bytes += message.bytes;
    ++parcel.messages;
    if (message.put) put_bytes_ += message.bytes;
    if (message.word != nullptr)
      (message.put ? parcel.drained : parcel.counts).emplace_back(message.word, message.count);
  }
  free_hand_overs_.push_back(number);
  for (const uint32_t parcel : open_) w_.machine->rails == RailMode::kProxy ? ask(parcel) : post(parcel);
}

// Gives a parcel to its rank's proxy, which takes one command after another, whichever warp gave it.
void Traffic::ask(uint32_t number) {
  const Parcel& parcel = parcels_[number];
  uint64_t& until = nics_[parcel.from].proxy_until;
  until = std::max(until, w_.timeline->now()) + parcel.messages * w_.machine->command_ns;
  w_.times->commands(parcel.from, until);
  w_.timeline->at(until, [this, number] { post(number); });
}

void Traffic::post(uint32_t number) {
  const Parcel& parcel = parcels_[number];
  RankNic& nic = nics_[parcel.from];
  QueueOfNic& queue = nic.queues[uint64_t(parcel.to) << 32 | parcel.queue];
  if (queue.first == kNone) {
    queue.first = number;
    nic.turns.push_back(&queue);
  } else {
    parcels_[queue.last].next = number;
  }
  queue.last = number;
  if (!nic.sends) send_next(parcel.from);
}

// arrive() is called as a message leaves, so that messages reach each port in the order in which they come to it.
void Traffic::send_next(uint32_t rank) {
  RankNic& nic = nics_[rank];
  nic.sends = !nic.turns.empty();
  if (!nic.sends) return w_.times->rests(rank);
  QueueOfNic& queue = *nic.turns.front();
  nic.turns.pop_front();
  const uint32_t number = queue.first;
  queue.first = parcels_[number].next;
  if (queue.first != kNone) nic.turns.push_back(&queue);
  const ModelLinks::Transfer transfer = parcels_[number].transfer();
  const ModelLinks::Passage passage = w_.links->leave(transfer, w_.timeline->now());
  w_.times->sends(rank, passage.left);
  w_.timeline->at(passage.left, [this, rank] { send_next(rank); });
  w_.timeline->at(w_.links->arrive(transfer, passage.begins), [this, number] { land(number); });
}

void Traffic::land(uint32_t number) {
  Parcel& parcel = parcels_[number];
  for (const auto& [word, count] : parcel.counts) w_.waits->land(word, count);
  if (parcel.drained.empty()) return free_parcels_.push_back(number);
  // The answer that all has arrived takes another latency; then the sources are free.
  w_.timeline->in(w_.machine->latency_ns, [this, number] {
    for (const auto& [word, count] : parcels_[number].drained) w_.waits->land(word, count);
    free_parcels_.push_back(number);
  });
}

}  // namespace transload
